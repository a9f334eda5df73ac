// append.go - a business row and its event in one transaction, from Go with pgx.
//
// Needs: CREATE TABLE orders (id bigint PRIMARY KEY, item text), sql/001_outbox.up.sql, and the right
// of outbox_writer. Run: go run . 'dbname=shop' 4711
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5"
)

const appendEvent = `
    SELECT outbox.append(topic => 'orders', key => $1, type => 'com.example.order.placed',
                         payload => $2, headers => $3, content_type => 'application/json')::text`

// placeOrder returns the id of the event, which leaves if and only if the order is committed.
func placeOrder(ctx context.Context, conn *pgx.Conn, order int64, item string) (string, error) {
	payload, err := json.Marshal(map[string]any{"order": order, "item": item})
	if err != nil {
		return "", err
	}
	headers := [][2]string{{"tenant", "eu"}} // pairs, in order
	var id string
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO orders (id, item) VALUES ($1, $2)", order, item)
		if err != nil {
			return err
		}
		key := []byte(strconv.FormatInt(order, 10)) // the key of the record, as it is
		return tx.QueryRow(ctx, appendEvent, key, payload, headers).Scan(&id)
	})
	return id, err
}

func run(conninfo, order string) (string, error) {
	ctx := context.Background()
	number, err := strconv.ParseInt(order, 10, 64)
	if err != nil {
		return "", err
	}
	conn, err := pgx.Connect(ctx, conninfo)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	return placeOrder(ctx, conn, number, "book")
}

func main() {
	id, err := run(os.Args[1], os.Args[2])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(id)
}
