// raii.cc - a transaction as an object: it rolls back unless it was committed, whatever is thrown on the way.
//
// Needs: CREATE TABLE orders (id bigint PRIMARY KEY, item text), and sql/001_outbox.up.sql.
// Build: c++ -std=c++11 raii.cc $(pkg-config --cflags --libs outbox)   Run: ./a.out 'dbname=shop' 4711
#include <libpq-fe.h>
#include <outbox.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

using Connection = std::unique_ptr<PGconn, void (*)(PGconn *)>;
using Result = std::unique_ptr<PGresult, void (*)(PGresult *)>;

// What outbox_append() said, as an exception. flags tell the caller what to do.
struct OutboxError : std::runtime_error {
    explicit OutboxError(const outbox_error &e) : std::runtime_error(e.message), code(e.code), flags(e.flags) {}
    int code;
    uint32_t flags;
};

class Transaction {
public:
    explicit Transaction(PGconn *conn) : conn_(conn) { run("BEGIN", "BEGIN"); }
    ~Transaction()
    {
        if (!committed_)
            PQclear(PQexec(conn_, "ROLLBACK"));
    }
    Transaction(const Transaction &) = delete;
    Transaction &operator=(const Transaction &) = delete;

    void insert_order(const std::string &id)
    {
        const char *const values[] = { id.c_str() };
        check(PQexecParams(conn_, "INSERT INTO orders (id, item) VALUES ($1, 'book')", 1, nullptr, values, nullptr,
                           nullptr, 0),
              "INSERT 0 1");
    }

    void append(const std::string &topic, const std::string &key, const std::string &type, const std::string &payload)
    {
        outbox_event event = OUTBOX_EVENT_INIT;
        outbox_error err = OUTBOX_ERROR_INIT;

        event.topic = topic.c_str();
        event.key = key.data();
        event.key_len = key.size();
        event.type = type.c_str();
        event.content_type = "application/json";
        event.payload = payload.data();
        event.payload_len = payload.size();
        if (outbox_append(conn_, &event, &err) != OUTBOX_OK)
            throw OutboxError(err);
    }

    void commit()
    {
        run("COMMIT", "COMMIT"); // of a failed transaction it answers ROLLBACK
        committed_ = true;
    }

private:
    void run(const char *sql, const char *tag) { check(PQexec(conn_, sql), tag); }

    void check(PGresult *raw, const std::string &tag)
    {
        Result result(raw, PQclear);
        if (!raw || PQcmdStatus(raw) != tag) // NULL: no memory
            throw std::runtime_error(PQerrorMessage(conn_));
    }

    PGconn *conn_;
    bool committed_ = false;
};

int main(int argc, char **argv)
{
    const std::string id = argc > 2 ? argv[2] : "4711";

    try {
        Connection conn(PQconnectdb(argc > 1 ? argv[1] : ""), PQfinish);
        if (PQstatus(conn.get()) != CONNECTION_OK)
            throw std::runtime_error(PQerrorMessage(conn.get()));
        Transaction transaction(conn.get());
        transaction.insert_order(id);
        transaction.append("orders", id, "com.example.order.placed", "{\"item\": \"book\"}");
        transaction.commit();
    } catch (const OutboxError &e) {
        std::fprintf(stderr, "outbox: %s\n", e.what());
        return 1;
    } catch (const std::exception &e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
    return 0;
}
