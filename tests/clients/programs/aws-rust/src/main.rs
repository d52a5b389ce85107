//! One operation with the AWS SDK for Rust: its name and arguments on the command line, the place in the environment.

use std::error::Error;
use std::time::Duration;

use aws_config::{retry::RetryConfig, BehaviorVersion};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};
use aws_sdk_s3::Client;
use tokio::io::AsyncReadExt;

const PART_SIZE: u64 = 8 << 20;

type Outcome = Result<(), Box<dyn Error>>;

/// Send parts one after another, as a program must which has no manager of transfers.
async fn put_in_parts(client: &Client, bucket: &str, key: &str, parts: Vec<ByteStream>) -> Outcome {
    let begun = client.create_multipart_upload().bucket(bucket).key(key).send().await?;
    let upload = begun.upload_id().ok_or("no upload id")?;
    let mut done = CompletedMultipartUpload::builder();
    for (number, body) in (1..).zip(parts) {
        let part = client.upload_part().bucket(bucket).key(key).upload_id(upload).part_number(number);
        let sent = part.body(body).send().await?;
        let tag = sent.e_tag().ok_or("a part without entity tag")?;
        done = done.parts(CompletedPart::builder().part_number(number).e_tag(tag).build());
    }
    let complete = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(upload);
    let whole = complete.multipart_upload(done.build()).send().await?;
    if whole.e_tag().unwrap_or("").is_empty() {
        return Err("the upload has no entity tag".into());
    }
    Ok(())
}

async fn run(operation: &str, a: &[String]) -> Outcome {
    let defaults = aws_config::defaults(BehaviorVersion::latest()).retry_config(RetryConfig::disabled());
    let style = std::env::var("STYLE")?;
    let config = aws_sdk_s3::config::Builder::from(&defaults.load().await)
        .endpoint_url(std::env::var("URL")?)
        .force_path_style(style == "path")
        .build();
    let client = Client::from_conf(config);
    let bucket = a[0].as_str();
    match operation {
        "make-bucket" => {
            client.create_bucket().bucket(bucket).send().await?;
        }
        "remove-bucket" => {
            client.delete_bucket().bucket(bucket).send().await?;
        }
        "put" => {
            let body = ByteStream::from_path(&a[2]).await?;
            client.put_object().bucket(bucket).key(&a[1]).body(body).send().await?;
        }
        "put-large" => {
            let size = tokio::fs::metadata(&a[2]).await?.len();
            let mut parts = Vec::new();
            let mut first = 0;
            while first < size {
                let length = PART_SIZE.min(size - first);
                let part = ByteStream::read_from().path(&a[2]).offset(first).length(Length::Exact(length));
                parts.push(part.build().await?);
                first += length;
            }
            put_in_parts(&client, bucket, &a[1], parts).await?;
        }
        "put-stream" => {
            let mut all = Vec::new();
            tokio::io::stdin().read_to_end(&mut all).await?;
            let parts = all.chunks(PART_SIZE as usize).map(|part| ByteStream::from(part.to_vec())).collect();
            put_in_parts(&client, bucket, &a[1], parts).await?;
        }
        "get" => {
            let answer = client.get_object().bucket(bucket).key(&a[1]).send().await?;
            let mut file = tokio::fs::File::create(&a[2]).await?;
            tokio::io::copy(&mut answer.body.into_async_read(), &mut file).await?;
            file.sync_all().await?;
        }
        "range" => {
            let part = format!("bytes={}-{}", a[2], a[3]);
            let answer = client.get_object().bucket(bucket).key(&a[1]).range(part).send().await?;
            let mut output = tokio::io::stdout();
            tokio::io::copy(&mut answer.body.into_async_read(), &mut output).await?;
            tokio::io::AsyncWriteExt::flush(&mut output).await?;
        }
        "list" => {
            let mut pages = client.list_objects_v2().bucket(bucket).prefix(&a[1]).into_paginator().send();
            while let Some(page) = pages.next().await {
                for item in page?.contents() {
                    println!("{}", item.key().unwrap_or(""));
                }
            }
        }
        "copy" => {
            let mut source = format!("{bucket}/");
            for byte in a[1].bytes() {
                let plain = byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
                source += &if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") };
            }
            client.copy_object().bucket(&a[2]).key(&a[3]).copy_source(source).send().await?;
        }
        "head" => {
            let answer = client.head_object().bucket(bucket).key(&a[1]).send().await?;
            println!("{}", answer.content_length().unwrap_or(-1));
        }
        "presign" => {
            let lasting = PresigningConfig::expires_in(Duration::from_secs(600))?;
            println!("{}", client.get_object().bucket(bucket).key(&a[1]).presigned(lasting).await?.uri());
        }
        "delete-many" => {
            let mut doomed = Delete::builder();
            for key in &a[1..] {
                doomed = doomed.objects(ObjectIdentifier::builder().key(key).build()?);
            }
            let answer = client.delete_objects().bucket(bucket).delete(doomed.build()?).send().await?;
            if let Some(error) = answer.errors().first() {
                return Err(format!("({})", error.code().unwrap_or("")).into());
            }
        }
        _ => return Err(format!("no operation {operation}").into()),
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Err(error) = run(&arguments[0], &arguments[1..]).await {
        let refused = error.downcast_ref::<aws_sdk_s3::Error>().and_then(ProvideErrorMetadata::code);
        eprintln!("({}) {}", refused.unwrap_or(""), DisplayErrorContext(error.as_ref()));
        std::process::exit(1);
    }
}
