// Pushes with JGit. Reads the order as JSON from stdin; prints one JSON message per line.
import com.google.gson.Gson;
import java.io.File;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.eclipse.jgit.api.Git;
import org.eclipse.jgit.transport.PushResult;
import org.eclipse.jgit.transport.RefSpec;
import org.eclipse.jgit.transport.RemoteRefUpdate;
import org.eclipse.jgit.transport.UsernamePasswordCredentialsProvider;

public class Push {
  record Order(
      String dir, String url, String user, String password, String refspec, List<String> options) {}

  static final Set<RemoteRefUpdate.Status> GOOD =
      Set.of(RemoteRefUpdate.Status.OK, RemoteRefUpdate.Status.UP_TO_DATE);
  static final Gson GSON = new Gson();

  static void say(Map<String, Object> message) {
    byte[] line = (GSON.toJson(message) + "\n").getBytes(StandardCharsets.UTF_8);
    System.out.write(line, 0, line.length);
    System.out.flush();
  }

  /** JGit writes whole packets of text. */
  static final OutputStream TEXT =
      new OutputStream() {
        @Override
        public void write(int b) {
          write(new byte[] {(byte) b}, 0, 1);
        }

        @Override
        public void write(byte[] data, int from, int length) {
          say(Map.of("text", new String(data, from, length, StandardCharsets.UTF_8)));
        }
      };

  static Map<String, Object> push(Order order) throws Exception {
    var credentials = new UsernamePasswordCredentialsProvider(order.user, order.password);
    try (Git git = Git.open(new File(order.dir))) {
      var push =
          git.push()
              .setRemote(order.url)
              .setRefSpecs(new RefSpec(order.refspec))
              .setCredentialsProvider(credentials)
              .setOutputStream(TEXT)
              .setPushOptions(order.options);
      for (PushResult result : push.call()) {
        for (RemoteRefUpdate update : result.getRemoteUpdates()) {
          if (GOOD.contains(update.getStatus())) continue;
          return Map.of("ok", false, "reason", update.getStatus() + ": " + update.getMessage());
        }
      }
    }
    return Map.of("ok", true, "reason", "");
  }

  public static void main(String[] args) throws Exception {
    var stdin = new InputStreamReader(System.in, StandardCharsets.UTF_8);
    Map<String, Object> verdict;
    try {
      verdict = push(GSON.fromJson(GSON.newJsonReader(stdin), Order.class));
    } catch (Exception error) {
      verdict = Map.of("ok", false, "reason", error.toString());
    }
    say(verdict);
  }
}
