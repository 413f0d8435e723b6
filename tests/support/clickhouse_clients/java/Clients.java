import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.util.List;
import java.util.Properties;

/** Reads all views that are named on stdin by clickhouse-jdbc, by its defaults and with other ways to compress. */
public class Clients {
  static int rows(ResultSet found) throws Exception {
    int count = 0;
    while (found.next()) {
      for (int column = 1; column <= found.getMetaData().getColumnCount(); column++) found.getObject(column);
      count++;
    }
    return count;
  }

  public static void main(String[] none) throws Exception {
    List<String> queries = new String(System.in.readAllBytes(), StandardCharsets.UTF_8).lines().toList();
    Properties account = new Properties();
    account.put("user", "analyst");
    account.put("password", System.getenv("CLICKHOUSE_PASSWORD"));
    boolean failed = false;
    for (String way : List.of("", "?compress=1", "?compress=1&decompress=1", "?use_http_compression=true")) {
      String url = "jdbc:clickhouse://" + System.getenv("CLICKHOUSE_ADDRESS") + "/optin" + way;
      try (Connection connection = DriverManager.getConnection(url, account)) {
        for (String query : queries) {
          try {
            System.out.println("OK " + way + " " + query + " " + rows(connection.createStatement().executeQuery(query)));
          } catch (Exception error) {
            System.out.println("FAIL " + way + " " + query + " " + error);
            failed = true;
          }
        }
        if (rows(connection.getMetaData().getTables(null, "optin", "%", null)) == 0) failed = true;
      }
    }
    System.exit(failed ? 1 : 0);
  }
}
