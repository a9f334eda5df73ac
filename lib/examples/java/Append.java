/* Append.java - a business row and its event in one transaction, from Java with JDBC.
 *
 * Needs: CREATE TABLE orders (id bigint PRIMARY KEY, item text), sql/001_outbox.up.sql, the right of
 * outbox_writer, and PostgreSQL's JDBC driver.
 * Run: java -cp postgresql.jar Append.java 'jdbc:postgresql://localhost/shop?user=me' 4711
 */
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;

class Append {
    static final String APPEND = """
        SELECT outbox.append(topic => 'orders', key => ?, type => 'com.example.order.placed',
                             payload => ?, headers => ?::jsonb, content_type => 'application/json')
        """;

    /** Returns the id of the event, which leaves if and only if the order is committed. */
    static String placeOrder(Connection conn, long order, String item) throws SQLException {
        String payload = "{\"order\": " + order + ", \"item\": \"" + item + "\"}";
        conn.setAutoCommit(false); // or each statement is a transaction of its own
        try (PreparedStatement insert = conn.prepareStatement("INSERT INTO orders (id, item) VALUES (?, ?)");
                PreparedStatement append = conn.prepareStatement(APPEND)) {
            insert.setLong(1, order);
            insert.setString(2, item);
            insert.executeUpdate();
            append.setBytes(1, Long.toString(order).getBytes(StandardCharsets.UTF_8));
            append.setBytes(2, payload.getBytes(StandardCharsets.UTF_8));
            append.setString(3, "[[\"tenant\", \"eu\"]]"); // pairs, in order
            try (ResultSet result = append.executeQuery()) {
                result.next();
                String id = result.getString(1);
                conn.commit();
                return id;
            }
        } catch (SQLException e) {
            conn.rollback();
            throw e;
        }
    }

    public static void main(String[] args) throws SQLException {
        try (Connection conn = DriverManager.getConnection(args[0])) {
            System.out.println(placeOrder(conn, Long.parseLong(args[1]), "book"));
        }
    }
}
