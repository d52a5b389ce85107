# One operation with the AWS SDK for Ruby: its name and arguments on the command line, the place in the environment.
require "aws-sdk-s3"

operation, bucket, *a = ARGV
client = Aws::S3::Client.new(
  endpoint: ENV.fetch("URL"),
  force_path_style: ENV.fetch("STYLE") == "path",
  region: "us-east-1",
  retry_limit: 0,
  ssl_ca_bundle: ENV.fetch("SSL_CERT_FILE"),
)
object = ->(key) { Aws::S3::Object.new(bucket, key, client: client) }

begin
  case operation
  when "make-bucket" then client.create_bucket(bucket: bucket)
  when "remove-bucket" then client.delete_bucket(bucket: bucket)
  when "put" then File.open(a[1], "rb") { |file| client.put_object(bucket: bucket, key: a[0], body: file) }
  when "put-large" then object.(a[0]).upload_file(a[1], multipart_threshold: 8 << 20)
  when "put-stream" then object.(a[0]).upload_stream { |target| IO.copy_stream($stdin, target) }
  # It asks for the first part's length before anything else.
  when "get" then object.(a[0]).download_file(a[1])
  when "range"
    $stdout.binmode
    $stdout.write(client.get_object(bucket: bucket, key: a[0], range: "bytes=#{a[1]}-#{a[2]}").body.read)
  when "list"
    client.list_objects_v2(bucket: bucket, prefix: a[0]).each { |page| page.contents.each { |item| puts item.key } }
  when "copy"
    source = "#{bucket}/#{Seahorse::Util.uri_escape(a[0])}"
    client.copy_object(bucket: a[1], key: a[2], copy_source: source)
  when "head" then puts client.head_object(bucket: bucket, key: a[0]).content_length
  when "presign"
    puts Aws::S3::Presigner.new(client: client).presigned_url(:get_object, bucket: bucket, key: a[0], expires_in: 600)
  when "delete-many"
    errors = client.delete_objects(bucket: bucket, delete: { objects: a.map { |key| { key: key } } }).errors
    raise errors.inspect unless errors.empty?
  else raise "no operation #{operation}"
  end
rescue Aws::Errors::ServiceError => error
  warn "(#{error.code}) status #{error.context.http_response.status_code}: #{error.message}"
  exit 1
end
