import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;

/**
 * Scores a record over the gateway's REST API, with nothing but the JDK (11 or newer):
 *
 * <pre>java Score.java http://localhost:8000 record.json</pre>
 *
 * The caller's key, if the gateway wants one, is read from PRAGMATIQ_API_KEY. A service keeps one HttpClient for all its
 * calls: it keeps connections open.
 */
public final class Score {
    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 2) {
            System.err.println("usage: java Score.java URL RECORD.json");
            System.exit(2);
        }
        String body = "{\"record\": " + Files.readString(Path.of(arguments[1])) + "}";
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(arguments[0] + "/v1/score"))
                .timeout(Duration.ofSeconds(5))
                .header("content-type", "application/json")
                .header("x-timeout-ms", "5000")
                .POST(HttpRequest.BodyPublishers.ofString(body));
        String key = System.getenv("PRAGMATIQ_API_KEY");
        if (key != null) {
            request.header("authorization", "Bearer " + key);
        }
        HttpClient client = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(2)).build();
        HttpResponse<String> answer = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            // 429 and 503 may be tried again, after the seconds that the header retry-after names.
            System.err.println(answer.statusCode() + ": " + answer.body());
            System.exit(1);
        }
        System.out.println(answer.body());
    }
}
