import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.LocatedFileStatus;
import org.apache.hadoop.fs.RemoteIterator;
import software.amazon.awssdk.awscore.exception.AwsServiceException;

/** Hadoop's file system S3A: a bucket is a file system, which it neither makes nor removes. */
public final class Main implements Conversation.Operations {
    private final Configuration configuration = new Configuration();

    private Main() {
        configuration.set("fs.s3a.endpoint", System.getenv("URL"));
        configuration.set("fs.s3a.endpoint.region", "us-east-1");
        configuration.set("fs.s3a.path.style.access", String.valueOf(System.getenv("STYLE").equals("path")));
        configuration.set("fs.s3a.connection.ssl.enabled", String.valueOf(System.getenv("SCHEME").equals("https")));
        configuration.set("fs.s3a.access.key", System.getenv("AWS_ACCESS_KEY_ID"));
        configuration.set("fs.s3a.secret.key", System.getenv("AWS_SECRET_ACCESS_KEY"));
        configuration.set(
                "fs.s3a.aws.credentials.provider", "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider");
        configuration.set("fs.s3a.multipart.size", "8M");
        configuration.set("fs.s3a.multipart.threshold", "8M");
        configuration.set("fs.s3a.attempts.maximum", "0");
        configuration.set("fs.s3a.retry.limit", "0");
        configuration.set("fs.s3a.connection.request.timeout", System.getenv("RESPONSE_SECONDS") + "s");
        configuration.set("fs.s3a.buffer.dir", System.getenv("HOME"));
        configuration.set("hadoop.tmp.dir", System.getenv("HOME"));
    }

    public static void main(String[] arguments) throws Exception {
        Conversation.hold(new Main());
        System.exit(0);
    }

    private FileSystem bucket(String name) throws IOException {
        return FileSystem.get(URI.create("s3a://" + name), configuration);
    }

    private static org.apache.hadoop.fs.Path path(String bucket, String key) throws Exception {
        return new org.apache.hadoop.fs.Path(new URI("s3a", bucket, "/" + key, null, null));
    }

    @Override
    public String run(String operation, List<String> a) throws Exception {
        if (List.of("make-bucket", "remove-bucket", "presign").contains(operation))
            throw new UnsupportedOperationException("a bucket is a file system to it, and it makes no URLs");
        String bucket = a.get(0);
        FileSystem files = bucket(bucket);
        switch (operation) {
            case "put", "put-large", "put-stream":
                try (InputStream source = Files.newInputStream(Path.of(a.get(2)));
                        OutputStream target = files.create(path(bucket, a.get(1)), true)) {
                    source.transferTo(target);
                }
                return "";
            case "get":
                try (InputStream source = files.open(path(bucket, a.get(1)));
                        OutputStream target = Files.newOutputStream(Path.of(a.get(2)))) {
                    source.transferTo(target);
                }
                return "";
            case "range":
                int first = Integer.parseInt(a.get(2));
                byte[] part = new byte[Integer.parseInt(a.get(3)) + 1 - first];
                try (FSDataInputStream source = files.open(path(bucket, a.get(1)))) {
                    source.readFully(first, part);
                }
                Files.write(Path.of(a.get(4)), part);
                return "";
            case "list":
                StringBuilder keys = new StringBuilder();
                RemoteIterator<LocatedFileStatus> found = files.listFiles(path(bucket, a.get(1)), true);
                while (found.hasNext()) keys.append(found.next().getPath().toUri().getPath().substring(1)).append('\n');
                return keys.toString();
            case "copy":
                // A copy is the half of its rename, which stays in a bucket.
                FileSystem others = bucket(a.get(2));
                org.apache.hadoop.fs.Path moved = path(a.get(2), a.get(1));
                try (InputStream source = files.open(path(bucket, a.get(1)));
                        OutputStream target = others.create(moved, true)) {
                    source.transferTo(target);
                }
                if (!others.rename(moved, path(a.get(2), a.get(3)))) throw new IOException("it was not renamed");
                return "";
            case "head":
                return String.valueOf(files.getFileStatus(path(bucket, a.get(1))).getLen());
            case "delete-many":
                String folder = a.get(1).substring(0, a.get(1).indexOf('/'));
                if (!files.delete(path(bucket, folder), true)) throw new FileNotFoundException(folder);
                return "";
            default:
                throw new IllegalArgumentException(operation);
        }
    }

    @Override
    public String tell(Throwable error) {
        StringBuilder said = new StringBuilder();
        for (Throwable each = error; each != null; each = each.getCause()) {
            if (each instanceof AwsServiceException refused && refused.awsErrorDetails() != null) {
                String code = refused.awsErrorDetails().errorCode();
                return "(" + code + ") status " + refused.statusCode() + ": " + refused.getMessage();
            }
            said.append(each).append('\n');
        }
        return said.toString();
    }
}
