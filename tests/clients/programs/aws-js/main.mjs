// One operation with the AWS SDK for JavaScript: its name and arguments on the command line, the place in the environment.
import { createReadStream, createWriteStream, readFileSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import * as s3 from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const [operation, Bucket, ...a] = process.argv.slice(2);
const client = new s3.S3Client({
  endpoint: process.env.URL,
  forcePathStyle: process.env.STYLE === "path",
  maxAttempts: Number(process.env.ATTEMPTS ?? 1),
});
const upload = (Body) =>
  new Upload({ client, partSize: 8 << 20, params: { Bucket, Key: a[0], Body } }).done();

const operations = {
  "make-bucket": () => client.send(new s3.CreateBucketCommand({ Bucket })),
  "remove-bucket": () => client.send(new s3.DeleteBucketCommand({ Bucket })),
  put: () => client.send(new s3.PutObjectCommand({ Bucket, Key: a[0], Body: createReadStream(a[1]) })),
  "put-held": () => client.send(new s3.PutObjectCommand({ Bucket, Key: a[0], Body: readFileSync(a[1]) })),
  "put-large": () => upload(createReadStream(a[1])),
  "put-stream": () => upload(process.stdin),
  get: async () => {
    const answer = await client.send(new s3.GetObjectCommand({ Bucket, Key: a[0] }));
    await pipeline(answer.Body, createWriteStream(a[1]));
  },
  range: async () => {
    const answer = await client.send(new s3.GetObjectCommand({ Bucket, Key: a[0], Range: `bytes=${a[1]}-${a[2]}` }));
    await pipeline(answer.Body, process.stdout);
  },
  list: async () => {
    for await (const page of s3.paginateListObjectsV2({ client }, { Bucket, Prefix: a[0] }))
      for (const item of page.Contents ?? []) console.log(item.Key);
  },
  copy: () =>
    client.send(
      new s3.CopyObjectCommand({ Bucket: a[1], Key: a[2], CopySource: `${Bucket}/${encodeURIComponent(a[0])}` }),
    ),
  head: async () => console.log((await client.send(new s3.HeadObjectCommand({ Bucket, Key: a[0] }))).ContentLength),
  presign: async () =>
    console.log(await getSignedUrl(client, new s3.GetObjectCommand({ Bucket, Key: a[0] }), { expiresIn: 600 })),
  "delete-many": async () => {
    const Delete = { Objects: a.map((Key) => ({ Key })) };
    const answer = await client.send(new s3.DeleteObjectsCommand({ Bucket, Delete }));
    if (answer.Errors?.length) throw new Error(JSON.stringify(answer.Errors));
  },
};

try {
  await operations[operation]();
} catch (error) {
  console.error(`(${error.name}) status ${error.$metadata?.httpStatusCode}: ${error.message}`);
  process.exit(1);
}
