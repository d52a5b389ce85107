// One operation with the AWS SDK for Java: its name and arguments on the command line, the place in the environment.
import java.net.URI;
import java.nio.file.Path;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.S3Exception;

public class Clock {
    public static void main(String[] a) {
        try (S3Client client = S3Client.builder()
                .endpointOverride(URI.create(System.getenv("URL")))
                .region(Region.US_EAST_1)
                .forcePathStyle(true)
                .build()) {
            switch (a[0]) {
                case "put" -> client.putObject(r -> r.bucket(a[1]).key(a[2]), RequestBody.fromFile(Path.of(a[3])));
                case "get" -> client.getObject(r -> r.bucket(a[1]).key(a[2]), Path.of(a[3]));
                case "head" ->
                    System.out.println(client.headObject(r -> r.bucket(a[1]).key(a[2])).contentLength());
                default -> throw new IllegalArgumentException(a[0]);
            }
        } catch (S3Exception error) {
            System.err.println("(" + error.awsErrorDetails().errorCode() + ") " + error.getMessage());
            System.exit(1);
        }
    }
}
