//! Verifies the signature of a request whose names and list of signed headers are known: `s3proxy.sigv4.coverage` and
//! `s3proxy.sigv4.verifier`.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::onward::is_in_path;
use crate::signing::{hex, SigningKey};

/// The string to sign, and the canonical request that it has the hash of.
type Verified<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>);

/// A list of signed headers, and where the values are in a head with certain names.
///
/// Args:
///     signed: The names of the list, each once and in order, and the place of its value; None if it was not sent.
///     raw_signed_headers: The list as sent.
#[pyclass(module = "s3proxy_native", frozen)]
pub struct Coverage {
    // All names, each with its colon. Many lists are remembered, so the names are in one allocation.
    names: Box<[u8]>,
    // Where each name ends, and the place of its value.
    cuts: Box<[(u16, Option<u16>)]>,
    raw_signed_headers: Box<[u8]>,
}

impl Coverage {
    /// Return the canonical request; None if Python must make it: a signed value has white space to trim.
    fn canonical_request(
        &self,
        method: &[u8],
        path: &[u8],
        values: &Bound<'_, PyTuple>,
        payload: &[u8],
    ) -> PyResult<Option<Vec<u8>>> {
        let mut text = Vec::with_capacity(1024);
        for part in [method, b"\n", path, b"\n\n"] {
            text.extend_from_slice(part);
        }
        let mut start = 0;
        for (end, place) in &self.cuts {
            let end = usize::from(*end);
            text.extend_from_slice(&self.names[start..end]);
            start = end;
            if let Some(place) = place {
                let value = values.get_item(usize::from(*place))?;
                let value = value.cast::<PyBytes>()?.as_bytes();
                if value.iter().any(|byte| matches!(byte, b' ' | b'\t')) {
                    return Ok(None);
                }
                text.extend_from_slice(value);
            }
            text.push(b'\n');
        }
        for part in [b"\n".as_slice(), &self.raw_signed_headers, b"\n", payload] {
            text.extend_from_slice(part);
        }
        Ok(Some(text))
    }
}

#[pymethods]
impl Coverage {
    #[new]
    fn new(signed: Vec<(Vec<u8>, Option<u16>)>, raw_signed_headers: Vec<u8>) -> PyResult<Self> {
        let (mut names, mut cuts) = (Vec::new(), Vec::new());
        for (name, place) in signed {
            names.extend_from_slice(&name);
            names.push(b':');
            cuts.push((u16::try_from(names.len())?, place));
        }
        Ok(Coverage { names: names.into(), cuts: cuts.into(), raw_signed_headers: raw_signed_headers.into() })
    }

    /// Return the string to sign and the canonical request, if the claimed signature was made over them; None if it was
    /// not, or if Python must decide.
    ///
    /// Args:
    ///     algorithm: As sent.
    ///     date, scope: Lines of the string to sign.
    ///     path: As received.
    ///     values: The values of the head, in the order of its names.
    ///     payload: As sent.
    ///     claimed: The signature as sent.
    #[allow(clippy::too_many_arguments)]
    fn verify<'py>(
        &self,
        py: Python<'py>,
        key: &SigningKey,
        algorithm: &[u8],
        date: &[u8],
        scope: &[u8],
        method: &[u8],
        path: &[u8],
        values: &Bound<'py, PyTuple>,
        payload: &[u8],
        claimed: &[u8],
    ) -> PyResult<Option<Verified<'py>>> {
        if path.is_empty() || !path.iter().copied().all(is_in_path) {
            return Ok(None);
        }
        let Some(request) = self.canonical_request(method, path, values, payload)? else { return Ok(None) };
        let digest = hex(&Sha256::digest(&request));
        let text = [algorithm, date, scope, &digest].join(&b'\n');
        if !bool::from(key.sign(&[&text]).ct_eq(claimed)) {
            return Ok(None);
        }
        Ok(Some((PyBytes::new(py, &text), PyBytes::new(py, &request))))
    }
}
