# The AWS SDK for Ruby: operations by lines, a name and its arguments, percent-encoded, and for each a line of what became
# of it.
require "aws-sdk-s3"
require "cgi"

CLIENT = Aws::S3::Client.new(
  endpoint: ENV.fetch("URL"),
  force_path_style: ENV.fetch("STYLE") == "path",
  region: "us-east-1",
  retry_limit: 0,
  http_read_timeout: ENV.fetch("RESPONSE_SECONDS").to_i,
  ssl_ca_bundle: ENV.fetch("SSL_CERT_FILE"),
)

def run(operation, bucket, *a)
  object = Aws::S3::Object.new(bucket, a[0] || "-", client: CLIENT)
  case operation
  when "make-bucket" then CLIENT.create_bucket(bucket: bucket)
  when "remove-bucket" then CLIENT.delete_bucket(bucket: bucket)
  when "put" then File.open(a[1], "rb") { |file| CLIENT.put_object(bucket: bucket, key: a[0], body: file) }
  when "put-large" then object.upload_file(a[1], multipart_threshold: 8 << 20)
  when "put-stream" then object.upload_stream { |target| File.open(a[1], "rb") { |file| IO.copy_stream(file, target) } }
  # It asks for the first part's length before anything else.
  when "get" then object.download_file(a[1])
  when "range"
    CLIENT.get_object(bucket: bucket, key: a[0], range: "bytes=#{a[1]}-#{a[2]}", response_target: a[3])
  when "list"
    pages = CLIENT.list_objects_v2(bucket: bucket, prefix: a[0])
    return pages.flat_map { |page| page.contents.map { |item| "#{item.key}\n" } }.join
  when "copy"
    source = "#{bucket}/#{Seahorse::Util.uri_escape(a[0])}"
    CLIENT.copy_object(bucket: a[1], key: a[2], copy_source: source)
  when "head" then return CLIENT.head_object(bucket: bucket, key: a[0]).content_length.to_s
  when "presign" then return object.presigned_url(:get, expires_in: 600)
  when "delete-many"
    errors = CLIENT.delete_objects(bucket: bucket, delete: { objects: a.map { |key| { key: key } } }).errors
    raise errors.inspect unless errors.empty?
  else raise "no operation #{operation}"
  end
  ""
end

$stdin.each_line do |line|
  said =
    begin
      "+" + CGI.escape(run(*line.chomp.split(" ").map { |word| CGI.unescape(word) }))
    rescue Aws::Errors::ServiceError => error
      "-" + CGI.escape("(#{error.code}) status #{error.context.http_response.status_code}: #{error.message}")
    rescue StandardError => error
      "-" + CGI.escape("#{error.class}: #{error.message}")
    end
  puts said
  $stdout.flush
end
