import com.amazonaws.AmazonServiceException;
import com.amazonaws.ClientConfiguration;
import com.amazonaws.HttpMethod;
import com.amazonaws.client.builder.AwsClientBuilder.EndpointConfiguration;
import com.amazonaws.services.s3.AmazonS3;
import com.amazonaws.services.s3.AmazonS3ClientBuilder;
import com.amazonaws.services.s3.model.DeleteObjectsRequest;
import com.amazonaws.services.s3.model.GetObjectRequest;
import com.amazonaws.services.s3.model.ObjectListing;
import com.amazonaws.services.s3.model.ObjectMetadata;
import com.amazonaws.services.s3.model.PutObjectRequest;
import com.amazonaws.services.s3.model.S3ObjectSummary;
import com.amazonaws.services.s3.transfer.TransferManager;
import com.amazonaws.services.s3.transfer.TransferManagerBuilder;
import java.io.File;
import java.io.InputStream;
import java.util.Date;
import java.util.List;

/** The AWS SDK for Java, version 1; the command line names its signature. */
public final class Main implements Conversation.Operations {
    private static final long PART_SIZE = 8 << 20;

    private final AmazonS3 client;

    private Main(AmazonS3 client) {
        this.client = client;
    }

    public static void main(String[] arguments) throws Exception {
        ClientConfiguration configuration =
                new ClientConfiguration()
                        .withMaxErrorRetry(0)
                        .withSocketTimeout(1000 * Integer.parseInt(System.getenv("RESPONSE_SECONDS")));
        if (arguments[0].equals("v2")) configuration.setSignerOverride("S3SignerType");
        AmazonS3 client =
                AmazonS3ClientBuilder.standard()
                        .withEndpointConfiguration(new EndpointConfiguration(System.getenv("URL"), "us-east-1"))
                        .withPathStyleAccessEnabled(System.getenv("STYLE").equals("path"))
                        .withClientConfiguration(configuration)
                        .build();
        Conversation.hold(new Main(client));
        System.exit(0);
    }

    @Override
    public String run(String operation, List<String> a) throws Exception {
        String bucket = a.get(0);
        switch (operation) {
            case "make-bucket":
                client.createBucket(bucket);
                return "";
            case "remove-bucket":
                client.deleteBucket(bucket);
                return "";
            case "put":
                client.putObject(bucket, a.get(1), new File(a.get(2)));
                return "";
            case "put-large":
                putInParts(bucket, a.get(1), new File(a.get(2)));
                return "";
            case "put-stream":
                try (InputStream stream = Conversation.unsized(a.get(2))) {
                    PutObjectRequest request = new PutObjectRequest(bucket, a.get(1), stream, new ObjectMetadata());
                    // It reads such a stream twice, from its memory the second time.
                    request.getRequestClientOptions().setReadLimit(2 * (int) PART_SIZE);
                    client.putObject(request);
                }
                return "";
            case "get":
                client.getObject(new GetObjectRequest(bucket, a.get(1)), new File(a.get(2)));
                return "";
            case "range":
                GetObjectRequest part = new GetObjectRequest(bucket, a.get(1));
                client.getObject(part.withRange(Long.parseLong(a.get(2)), Long.parseLong(a.get(3))), new File(a.get(4)));
                return "";
            case "list":
                return list(bucket, a.get(1));
            case "copy":
                client.copyObject(bucket, a.get(1), a.get(2), a.get(3));
                return "";
            case "head":
                return String.valueOf(client.getObjectMetadata(bucket, a.get(1)).getContentLength());
            case "presign":
                Date end = new Date(System.currentTimeMillis() + 600_000);
                return client.generatePresignedUrl(bucket, a.get(1), end, HttpMethod.GET).toString();
            case "delete-many":
                String[] keys = a.subList(1, a.size()).toArray(new String[0]);
                client.deleteObjects(new DeleteObjectsRequest(bucket).withKeys(keys));
                return "";
            default:
                throw new IllegalArgumentException(operation);
        }
    }

    private void putInParts(String bucket, String key, File file) throws InterruptedException {
        TransferManager transfers =
                TransferManagerBuilder.standard()
                        .withS3Client(client)
                        .withMultipartUploadThreshold(PART_SIZE)
                        .withMinimumUploadPartSize(PART_SIZE)
                        .build();
        try {
            transfers.upload(bucket, key, file).waitForCompletion();
        } finally {
            transfers.shutdownNow(false);
        }
    }

    private String list(String bucket, String prefix) {
        StringBuilder keys = new StringBuilder();
        // The first version of listings, which it always asks for in percent-encoding.
        ObjectListing page = client.listObjects(bucket, prefix);
        while (true) {
            for (S3ObjectSummary item : page.getObjectSummaries()) keys.append(item.getKey()).append('\n');
            if (!page.isTruncated()) return keys.toString();
            page = client.listNextBatchOfObjects(page);
        }
    }

    @Override
    public String tell(Throwable error) {
        if (error instanceof AmazonServiceException refused && refused.getErrorCode() != null) {
            String said = refused.getErrorMessage();
            return "(" + refused.getErrorCode() + ") status " + refused.getStatusCode() + ": " + said;
        }
        StringBuilder said = new StringBuilder();
        for (Throwable each = error; each != null; each = each.getCause()) said.append(each).append('\n');
        return said.toString();
    }
}
