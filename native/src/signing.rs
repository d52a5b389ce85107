//! HMAC-SHA256 with the signing key of one scope: `s3proxy.sigv4.signing_key`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use sha2::{Digest, Sha256};

const BLOCK_SIZE: usize = 64;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Return the lower-case hex digits of a hash.
pub fn hex(hash: &[u8]) -> [u8; 64] {
    let mut digits = [0; 64];
    for (place, byte) in hash.iter().enumerate() {
        digits[2 * place] = DIGITS[(byte >> 4) as usize];
        digits[2 * place + 1] = DIGITS[(byte & 15) as usize];
    }
    digits
}

/// A signing key. The two hashes of HMAC are begun once, and copied for each signature.
#[pyclass(module = "s3proxy_native", frozen)]
pub struct SigningKey {
    inner: Sha256,
    outer: Sha256,
}

impl SigningKey {
    /// Return the signature of a text made of parts, in lower-case hex.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 64] {
        let mut inner = self.inner.clone();
        for part in parts {
            inner.update(part);
        }
        let mut outer = self.outer.clone();
        outer.update(inner.finalize());
        hex(&outer.finalize())
    }
}

#[pymethods]
impl SigningKey {
    #[new]
    fn new(key: &[u8]) -> PyResult<Self> {
        if key.len() > BLOCK_SIZE {
            return Err(PyValueError::new_err("the key has more than 64 bytes"));
        }
        let (mut inner_pad, mut outer_pad) = ([0x36; BLOCK_SIZE], [0x5c; BLOCK_SIZE]);
        for (place, byte) in key.iter().enumerate() {
            inner_pad[place] ^= byte;
            outer_pad[place] ^= byte;
        }
        Ok(SigningKey { inner: Sha256::new_with_prefix(inner_pad), outer: Sha256::new_with_prefix(outer_pad) })
    }
}
