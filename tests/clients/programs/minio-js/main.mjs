// One operation with minio-js: its name and arguments on the command line, the place in the environment.
import * as Minio from "minio";
import { pipeline } from "node:stream/promises";

const [operation, bucket, ...a] = process.argv.slice(2);
const { hostname, port, protocol } = new URL(process.env.URL);
const client = new Minio.Client({
  endPoint: hostname,
  port: Number(port),
  useSSL: protocol === "https:",
  accessKey: process.env.AWS_ACCESS_KEY_ID,
  secretKey: process.env.AWS_SECRET_ACCESS_KEY,
  region: "us-east-1",
  pathStyle: process.env.STYLE === "path",
  partSize: 8 << 20,
  retryOptions: { disableRetry: true },
});

const names = async (listing) => {
  const found = [];
  for await (const item of listing) found.push(item.name);
  return found;
};

const operations = {
  "make-bucket": () => client.makeBucket(bucket, "us-east-1"),
  "remove-bucket": () => client.removeBucket(bucket),
  put: () => client.fPutObject(bucket, a[0], a[1]),
  "put-large": () => client.fPutObject(bucket, a[0], a[1]),
  "put-stream": () => client.putObject(bucket, a[0], process.stdin),
  get: () => client.fGetObject(bucket, a[0], a[1]),
  range: async () => {
    const [first, last] = a.slice(1).map(Number);
    await pipeline(await client.getPartialObject(bucket, a[0], first, last + 1 - first), process.stdout);
  },
  list: async () => {
    // It asks for percent-encoded names in both versions, and decodes whatever comes.
    const found = await names(client.listObjectsV2(bucket, a[0], true));
    const other = await names(client.listObjects(bucket, a[0], true));
    if (found.join("\n") !== other.join("\n")) throw new Error(`${found} by the second version, ${other} by the first`);
    console.log(found.join("\n"));
  },
  copy: () =>
    client.copyObject(a[1], a[2], `/${bucket}/${a[0]}`, new Minio.CopyConditions()),
  head: async () => console.log((await client.statObject(bucket, a[0])).size),
  presign: async () => console.log(await client.presignedGetObject(bucket, a[0], 600)),
  "delete-many": async () => {
    const errors = (await client.removeObjects(bucket, a)).filter((each) => each);
    if (errors.length) throw new Error(JSON.stringify(errors));
  },
};

try {
  await operations[operation]();
} catch (error) {
  console.error(`(${error.code ?? error.name}) status ${error.statusCode}: ${error.message}`);
  process.exit(1);
}
