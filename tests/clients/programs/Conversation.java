import java.io.BufferedReader;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Operations by lines: a name and its arguments, percent-encoded, and for each a line of what became of it. */
final class Conversation {
    interface Operations {
        /** Do one; return what is to be said. */
        String run(String operation, List<String> arguments) throws Exception;

        /** Tell a failure as S3's error code and status, if it has them. */
        String tell(Throwable error);
    }

    static void hold(Operations operations) throws IOException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            List<String> words = new ArrayList<>();
            for (String word : line.split(" ", -1)) words.add(URLDecoder.decode(word, StandardCharsets.UTF_8));
            String said;
            try {
                said = "+" + encoded(operations.run(words.get(0), words.subList(1, words.size())));
            } catch (UnsupportedOperationException error) {
                said = "?" + encoded(error.getMessage());
            } catch (Throwable error) {
                said = "-" + encoded(operations.tell(error));
            }
            System.out.println(said);
            System.out.flush();
        }
    }

    private static String encoded(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8);
    }

    /** A stream which neither tells its length nor goes back. */
    static InputStream unsized(String path) throws IOException {
        return new FilterInputStream(Files.newInputStream(Path.of(path))) {
            @Override
            public int available() {
                return 0;
            }

            @Override
            public boolean markSupported() {
                return false;
            }
        };
    }

    private Conversation() {}
}
