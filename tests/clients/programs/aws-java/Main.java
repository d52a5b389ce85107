import java.io.InputStream;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import software.amazon.awssdk.awscore.exception.AwsServiceException;
import software.amazon.awssdk.core.async.AsyncRequestBody;
import software.amazon.awssdk.core.async.AsyncResponseTransformer;
import software.amazon.awssdk.core.client.config.ClientOverrideConfiguration;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.core.sync.ResponseTransformer;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.S3Configuration;
import software.amazon.awssdk.services.s3.model.*;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;

/** The AWS SDK for Java, version 2: one of its four clients, which the command line names. */
public final class Main implements Conversation.Operations {
    /** What differs between the clients: how each sends and what it waits for. */
    private interface Client {
        void createBucket(CreateBucketRequest request);

        void deleteBucket(DeleteBucketRequest request);

        void put(PutObjectRequest request, Path file);

        void putStream(PutObjectRequest request, InputStream stream) throws Exception;

        void get(GetObjectRequest request, Path file);

        ListObjectsV2Response list(ListObjectsV2Request request);

        void copy(CopyObjectRequest request);

        HeadObjectResponse head(HeadObjectRequest request);

        DeleteObjectsResponse deleteMany(DeleteObjectsRequest request);
    }

    private static final URI ENDPOINT = URI.create(System.getenv("URL"));
    private static final boolean IS_PATH_STYLE = System.getenv("STYLE").equals("path");
    private static final Duration PATIENCE = Duration.ofSeconds(Long.parseLong(System.getenv("RESPONSE_SECONDS")));

    private final Client client;

    private Main(Client client) {
        this.client = client;
    }

    public static void main(String[] arguments) throws Exception {
        Client client =
                switch (arguments[0]) {
                    case "sync" -> new Sync();
                    case "netty" -> new Async(asynchronous(false), false);
                    case "multipart" -> new Async(asynchronous(true), true);
                    default -> new Async(crt(), true);
                };
        Conversation.hold(new Main(client));
        System.exit(0);
    }

    private static ClientOverrideConfiguration patient() {
        return ClientOverrideConfiguration.builder()
                .apiCallTimeout(PATIENCE)
                .retryStrategy(retries -> retries.maxAttempts(1))
                .build();
    }

    private static S3AsyncClient asynchronous(boolean isMultipart) {
        return S3AsyncClient.builder()
                .endpointOverride(ENDPOINT)
                .forcePathStyle(IS_PATH_STYLE)
                .region(Region.US_EAST_1)
                .multipartEnabled(isMultipart)
                .overrideConfiguration(patient())
                .build();
    }

    private static S3AsyncClient crt() {
        return S3AsyncClient.crtBuilder()
                .endpointOverride(ENDPOINT)
                .forcePathStyle(IS_PATH_STYLE)
                .region(Region.US_EAST_1)
                .retryConfiguration(retries -> retries.numRetries(0))
                .build();
    }

    @Override
    public String run(String operation, List<String> a) throws Exception {
        String bucket = a.get(0);
        switch (operation) {
            case "make-bucket":
                client.createBucket(CreateBucketRequest.builder().bucket(bucket).build());
                return "";
            case "remove-bucket":
                client.deleteBucket(DeleteBucketRequest.builder().bucket(bucket).build());
                return "";
            case "put", "put-large":
                client.put(putOf(bucket, a.get(1)), Path.of(a.get(2)));
                return "";
            case "put-stream":
                try (InputStream stream = Conversation.unsized(a.get(2))) {
                    client.putStream(putOf(bucket, a.get(1)), stream);
                }
                return "";
            case "get":
                Files.deleteIfExists(Path.of(a.get(2)));
                client.get(getOf(bucket, a.get(1)).build(), Path.of(a.get(2)));
                return "";
            case "range":
                Files.deleteIfExists(Path.of(a.get(4)));
                GetObjectRequest.Builder part = getOf(bucket, a.get(1));
                client.get(part.range("bytes=" + a.get(2) + "-" + a.get(3)).build(), Path.of(a.get(4)));
                return "";
            case "list":
                return list(bucket, a.get(1));
            case "copy":
                client.copy(
                        CopyObjectRequest.builder()
                                .sourceBucket(bucket)
                                .sourceKey(a.get(1))
                                .destinationBucket(a.get(2))
                                .destinationKey(a.get(3))
                                .build());
                return "";
            case "head":
                HeadObjectRequest head = HeadObjectRequest.builder().bucket(bucket).key(a.get(1)).build();
                return client.head(head).contentLength().toString();
            case "presign":
                return presign(bucket, a.get(1));
            case "delete-many":
                return deleteMany(bucket, a.subList(1, a.size()));
            default:
                throw new IllegalArgumentException(operation);
        }
    }

    private static PutObjectRequest putOf(String bucket, String key) {
        return PutObjectRequest.builder().bucket(bucket).key(key).build();
    }

    private static GetObjectRequest.Builder getOf(String bucket, String key) {
        return GetObjectRequest.builder().bucket(bucket).key(key);
    }

    private String list(String bucket, String prefix) {
        StringBuilder keys = new StringBuilder();
        String token = null;
        do {
            ListObjectsV2Request.Builder wanted = ListObjectsV2Request.builder().bucket(bucket).prefix(prefix);
            ListObjectsV2Response page = client.list(wanted.continuationToken(token).build());
            for (S3Object item : page.contents()) keys.append(item.key()).append('\n');
            token = page.nextContinuationToken();
        } while (token != null);
        return keys.toString();
    }

    private static String presign(String bucket, String key) {
        S3Configuration style = S3Configuration.builder().pathStyleAccessEnabled(IS_PATH_STYLE).build();
        try (S3Presigner presigner =
                S3Presigner.builder()
                        .endpointOverride(ENDPOINT)
                        .region(Region.US_EAST_1)
                        .serviceConfiguration(style)
                        .build()) {
            GetObjectRequest wanted = getOf(bucket, key).build();
            return presigner
                    .presignGetObject(p -> p.signatureDuration(Duration.ofMinutes(10)).getObjectRequest(wanted))
                    .url()
                    .toString();
        }
    }

    private String deleteMany(String bucket, List<String> keys) {
        List<ObjectIdentifier> doomed = keys.stream().map(k -> ObjectIdentifier.builder().key(k).build()).toList();
        DeleteObjectsRequest.Builder request = DeleteObjectsRequest.builder().bucket(bucket);
        List<S3Error> errors = client.deleteMany(request.delete(d -> d.objects(doomed)).build()).errors();
        if (!errors.isEmpty()) throw new IllegalStateException(errors.toString());
        return "";
    }

    @Override
    public String tell(Throwable error) {
        Throwable cause = error instanceof CompletionException ? error.getCause() : error;
        if (cause instanceof AwsServiceException refused && refused.awsErrorDetails() != null) {
            String code = refused.awsErrorDetails().errorCode();
            return "(" + code + ") status " + refused.statusCode() + ": " + refused.getMessage();
        }
        StringBuilder said = new StringBuilder();
        for (Throwable each = cause; each != null; each = each.getCause()) said.append(each).append('\n');
        return said.toString();
    }

    private static final class Sync implements Client {
        private final S3Client client =
                S3Client.builder()
                        .endpointOverride(ENDPOINT)
                        .forcePathStyle(IS_PATH_STYLE)
                        .region(Region.US_EAST_1)
                        .overrideConfiguration(patient())
                        .build();

        @Override
        public void createBucket(CreateBucketRequest request) {
            client.createBucket(request);
        }

        @Override
        public void deleteBucket(DeleteBucketRequest request) {
            client.deleteBucket(request);
        }

        @Override
        public void put(PutObjectRequest request, Path file) {
            client.putObject(request, RequestBody.fromFile(file));
        }

        @Override
        public void putStream(PutObjectRequest request, InputStream stream) {
            client.putObject(request, RequestBody.fromContentProvider(() -> stream, "application/octet-stream"));
        }

        @Override
        public void get(GetObjectRequest request, Path file) {
            client.getObject(request, ResponseTransformer.toFile(file));
        }

        @Override
        public ListObjectsV2Response list(ListObjectsV2Request request) {
            return client.listObjectsV2(request);
        }

        @Override
        public void copy(CopyObjectRequest request) {
            client.copyObject(request);
        }

        @Override
        public HeadObjectResponse head(HeadObjectRequest request) {
            return client.headObject(request);
        }

        @Override
        public DeleteObjectsResponse deleteMany(DeleteObjectsRequest request) {
            return client.deleteObjects(request);
        }
    }

    private record Async(S3AsyncClient client, boolean takesUnsized) implements Client {
        @Override
        public void createBucket(CreateBucketRequest request) {
            client.createBucket(request).join();
        }

        @Override
        public void deleteBucket(DeleteBucketRequest request) {
            client.deleteBucket(request).join();
        }

        @Override
        public void put(PutObjectRequest request, Path file) {
            client.putObject(request, AsyncRequestBody.fromFile(file)).join();
        }

        @Override
        public void putStream(PutObjectRequest request, InputStream stream) {
            if (!takesUnsized) throw new UnsupportedOperationException("only its multipart clients take such streams");
            ExecutorService reader = Executors.newSingleThreadExecutor();
            try {
                client.putObject(request, AsyncRequestBody.fromInputStream(stream, null, reader)).join();
            } finally {
                reader.shutdownNow();
            }
        }

        @Override
        public void get(GetObjectRequest request, Path file) {
            client.getObject(request, AsyncResponseTransformer.toFile(file)).join();
        }

        @Override
        public ListObjectsV2Response list(ListObjectsV2Request request) {
            return client.listObjectsV2(request).join();
        }

        @Override
        public void copy(CopyObjectRequest request) {
            client.copyObject(request).join();
        }

        @Override
        public HeadObjectResponse head(HeadObjectRequest request) {
            return client.headObject(request).join();
        }

        @Override
        public DeleteObjectsResponse deleteMany(DeleteObjectsRequest request) {
            return client.deleteObjects(request).join();
        }
    }
}
