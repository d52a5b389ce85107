//! Writes the signed head of a request to a backend: `s3proxy.resign.head`, its gate and its Signature V4.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use sha2::{Digest, Sha256};

use crate::heads::{is_in_line, METHODS};
use crate::signing::{hex, SigningKey};

const METADATA: &[u8] = b"x-amz-meta-";

/// The headers that signing adds. A request that has one of them already is left to Python.
const ADDED: [&[u8]; 3] = [b"x-amz-date", b"x-amz-content-sha256", b"authorization"];

/// Return whether a byte is its own canonical form in a path.
pub fn is_in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte)
}

/// Return whether all bytes of a lower-case name may pass. Only metadata may have an underscore.
fn is_name(lower: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^`|~".contains(byte);
    match lower.strip_prefix(METADATA) {
        Some(rest) => !rest.is_empty() && rest.iter().all(|byte| is_token(byte) || *byte == b'_'),
        None => !lower.is_empty() && lower.iter().all(is_token),
    }
}

fn is_signed(lower: &[u8]) -> bool {
    lower.starts_with(b"x-amz-") || matches!(lower, b"content-md5" | b"content-type" | b"host")
}

/// Add a value as a signature covers it: each run of white space is one space.
fn add_folded(text: &mut Vec<u8>, value: &[u8]) {
    let words = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    for (place, word) in words.enumerate() {
        if place > 0 {
            text.push(b' ');
        }
        text.extend_from_slice(word);
    }
}

/// A head in the making: its lines, and those of its headers that are signed, by lower-case name.
struct Head<'a> {
    text: Vec<u8>,
    names: Vec<Vec<u8>>,
    signed: Vec<(Vec<u8>, &'a [u8])>,
}

impl<'a> Head<'a> {
    fn write(&mut self, name: &[u8], value: &[u8]) {
        for part in [name, b": ", value, b"\r\n"] {
            self.text.extend_from_slice(part);
        }
    }

    /// Add a header; return whether it passes the gate.
    fn add(&mut self, name: &[u8], value: &'a [u8]) -> bool {
        let lower = name.to_ascii_lowercase();
        if !is_name(&lower)
            || !value.iter().copied().all(is_in_line)
            || ADDED.contains(&lower.as_slice())
            || self.names.contains(&lower)
        {
            return false;
        }
        self.write(name, value);
        if is_signed(&lower) {
            self.signed.push((lower.clone(), value));
        }
        self.names.push(lower);
        true
    }
}

/// Return the signed head of a request, as `s3proxy.resign.head.backend_head` does with Signature V4; None if that must
/// write it.
///
/// Args:
///     key: The signing key of the scope.
///     scope: The scope as a string to sign has it.
///     date: In the form 20260301T120000Z.
///     passed: Headers in order, without Host and framing.
///     length: Bytes of the body; None to send no Content-Length.
///     payload: The value of x-amz-content-sha256.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub fn signed_head<'py>(
    py: Python<'py>,
    key: &SigningKey,
    access_key_id: &[u8],
    scope: &[u8],
    date: &[u8],
    payload: &[u8],
    method: &[u8],
    target: &[u8],
    host: &[u8],
    passed: &Bound<'py, PyList>,
    length: Option<u64>,
    expects_continue: bool,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    // A query, or a path with escapes, has a canonical form of its own.
    if !METHODS.contains(&method) || target.first() != Some(&b'/') || !target.iter().copied().all(is_in_path) {
        return Ok(None);
    }
    let lines: Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> = passed.extract()?;
    let mut head =
        Head { text: Vec::with_capacity(1024), names: Vec::with_capacity(16), signed: Vec::with_capacity(16) };
    for part in [method, b" ", target, b" HTTP/1.1\r\n"] {
        head.text.extend_from_slice(part);
    }
    if !head.add(b"Host", host) {
        return Ok(None);
    }
    for (name, value) in &lines {
        if !head.add(name.as_bytes(), value.as_bytes()) {
            return Ok(None);
        }
    }
    let digits = length.map(|length| length.to_string());
    if let Some(digits) = &digits {
        if !head.add(b"Content-Length", digits.as_bytes()) {
            return Ok(None);
        }
    }
    head.signed.push((b"x-amz-date".to_vec(), date));
    head.signed.push((b"x-amz-content-sha256".to_vec(), payload));
    head.signed.sort_unstable();
    let mut names = Vec::with_capacity(256);
    let mut request = Vec::with_capacity(1024);
    for part in [method, b"\n", target, b"\n\n"] {
        request.extend_from_slice(part);
    }
    for (name, value) in &head.signed {
        if !names.is_empty() {
            names.push(b';');
        }
        names.extend_from_slice(name);
        request.extend_from_slice(name);
        request.push(b':');
        add_folded(&mut request, value);
        request.push(b'\n');
    }
    for part in [b"\n", names.as_slice(), b"\n", payload] {
        request.extend_from_slice(part);
    }
    let digest = hex(&Sha256::digest(&request));
    let signature = key.sign(&[b"AWS4-HMAC-SHA256\n", date, b"\n", scope, b"\n", &digest]);
    head.write(b"x-amz-date", date);
    head.write(b"x-amz-content-sha256", payload);
    for part in [
        b"Authorization: AWS4-HMAC-SHA256 Credential=".as_slice(),
        access_key_id,
        b"/",
        scope,
        b",SignedHeaders=",
        &names,
        b",Signature=",
        &signature,
        b"\r\n",
        if expects_continue { b"Expect: 100-continue\r\n" } else { b"" },
        b"\r\n",
    ] {
        head.text.extend_from_slice(part);
    }
    Ok(Some(PyBytes::new(py, &head.text)))
}
