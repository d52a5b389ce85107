//! Parses heads whose set of header names is known: `s3proxy.s3.head`.

use std::collections::HashMap;

use memchr::memchr;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple, PyType};

/// The methods of S3's operations.
pub const METHODS: [&[u8]; 6] = [b"GET", b"HEAD", b"PUT", b"DELETE", b"POST", b"OPTIONS"];
const VERSIONS: [&[u8]; 2] = [b"HTTP/1.1", b"HTTP/1.0"];

/// Return whether a byte may be in a header line: a tab, or no control character.
pub fn is_in_line(byte: u8) -> bool {
    (byte >= 0x20 && byte != 0x7f) || byte == b'\t'
}

/// Return whether a byte may be in a target. At a "#" a backend would cut the key that we signed.
fn is_in_target(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && byte != b'#'
}

fn is_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

/// Return whether a Host is a name and a port. An IPv6 address is left to Python.
fn is_host(host: &[u8]) -> bool {
    let colon = memchr(b':', host).unwrap_or(host.len());
    host[..colon].iter().copied().all(is_in_host) && host[colon..].iter().skip(1).all(u8::is_ascii_digit)
}

fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The names of the lines as one text, each with its colon, and the values in order.
struct Lines<'a> {
    names: Vec<u8>,
    values: Vec<&'a [u8]>,
}

/// Return the header lines of a head; None if they are not well-formed, or there are none.
fn split_lines(mut rest: &[u8]) -> Option<Lines<'_>> {
    let mut lines = Lines { names: Vec::with_capacity(512), values: Vec::with_capacity(24) };
    loop {
        let end = memchr(b'\r', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        let colon = memchr(b':', line)?;
        let value = &line[colon + 1..];
        if !value.iter().copied().all(is_in_line) {
            return None;
        }
        lines.names.extend_from_slice(&line[..=colon]);
        lines.values.push(trimmed(value));
        if end == rest.len() {
            return Some(lines);
        }
        if rest.get(end + 1) != Some(&b'\n') {
            return None;
        }
        rest = &rest[end + 2..];
    }
}

/// A set of names that the Python package has checked: a `HeaderNames`.
struct Set {
    names: Py<PyAny>,
    sent: Vec<Py<PyBytes>>,
    lower: Vec<Py<PyBytes>>,
    host: Option<usize>,
    length: Option<usize>,
    connection: Option<usize>,
    is_coded: bool,
}

/// What is the same in both kinds of heads.
struct Parts<'py> {
    values: Vec<Bound<'py, PyBytes>>,
    headers: Bound<'py, PyList>,
    fields: Bound<'py, PyAny>,
}

/// The parser, and the sets of names that it knows.
///
/// Args:
///     request_head, response_head, fields: The classes that it makes.
///     max_line_size: Bytes of a request line.
///     max_length_digits: Digits of a Content-Length.
#[pyclass(module = "s3proxy_native")]
pub struct Heads {
    request_head: Py<PyType>,
    response_head: Py<PyType>,
    fields: Py<PyType>,
    make: Py<PyAny>,
    max_line_size: usize,
    max_length_digits: usize,
    methods: Vec<Py<PyBytes>>,
    versions: Vec<Py<PyBytes>>,
    sets: HashMap<Box<[u8]>, Set>,
}

impl Heads {
    fn parts<'py>(&self, py: Python<'py>, set: &Set, values: &[&[u8]]) -> PyResult<Parts<'py>> {
        let values: Vec<_> = values.iter().map(|value| PyBytes::new(py, value)).collect();
        let fields = self.fields.bind(py).call0()?;
        let index = fields.cast::<PyDict>()?;
        let headers = PyList::empty(py);
        for (place, value) in values.iter().enumerate() {
            headers.append(PyTuple::new(py, [set.sent[place].bind(py), value])?)?;
            index.set_item(&set.lower[place], PyTuple::new(py, [value])?)?;
        }
        Ok(Parts { values, headers, fields })
    }

    /// Return the declared length of a body, None inside if there is none; None if it is left to Python.
    fn length(&self, set: &Set, values: &[&[u8]]) -> Option<Option<u64>> {
        let Some(place) = set.length else { return Some(None) };
        let digits = values[place];
        if digits.is_empty() || digits.len() > self.max_length_digits || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        std::str::from_utf8(digits).ok()?.parse().ok().map(Some)
    }
}

/// Return whether a Connection header keeps the connection; None if it has anything else to say.
fn keeps_alive(set: &Set, values: &[&[u8]], default: bool) -> Option<bool> {
    let Some(place) = set.connection else { return Some(default) };
    match values[place] {
        value if value.eq_ignore_ascii_case(b"keep-alive") => Some(true),
        value if value.eq_ignore_ascii_case(b"close") => Some(false),
        _ => None,
    }
}

fn place_of(lower: &[Bound<'_, PyBytes>], name: &[u8]) -> Option<usize> {
    lower.iter().position(|each| each.as_bytes() == name)
}

#[pymethods]
impl Heads {
    #[new]
    fn new(
        py: Python<'_>,
        request_head: Py<PyType>,
        response_head: Py<PyType>,
        fields: Py<PyType>,
        max_line_size: usize,
        max_length_digits: usize,
    ) -> PyResult<Self> {
        let known = |texts: &[&[u8]]| texts.iter().map(|text| PyBytes::new(py, text).unbind()).collect();
        Ok(Heads {
            make: py.get_type::<PyAny>().getattr("__new__")?.unbind(),
            request_head,
            response_head,
            fields,
            max_line_size,
            max_length_digits,
            methods: known(&METHODS),
            versions: known(&VERSIONS),
            sets: HashMap::new(),
        })
    }

    fn __len__(&self) -> usize {
        self.sets.len()
    }

    /// Forget all sets: the Python package has forgotten them.
    fn clear(&mut self) {
        self.sets.clear();
    }

    /// Know a set of names, which was checked and is remembered.
    fn learn(&mut self, py: Python<'_>, names: Bound<'_, PyAny>) -> PyResult<()> {
        let sent: Vec<Bound<'_, PyBytes>> = names.getattr(intern!(py, "sent"))?.extract()?;
        let lower: Vec<Bound<'_, PyBytes>> = names.getattr(intern!(py, "lower"))?.extract()?;
        let mut text = Vec::new();
        for name in &sent {
            text.extend_from_slice(name.as_bytes());
            text.push(b':');
        }
        let set = Set {
            host: place_of(&lower, b"host"),
            length: place_of(&lower, b"content-length"),
            connection: place_of(&lower, b"connection"),
            is_coded: place_of(&lower, b"transfer-encoding").is_some(),
            names: names.unbind(),
            sent: sent.into_iter().map(Bound::unbind).collect(),
            lower: lower.into_iter().map(Bound::unbind).collect(),
        };
        self.sets.insert(text.into_boxed_slice(), set);
        Ok(())
    }

    /// Return the head of a request, as `s3proxy.s3.head.parse_request_head` does; None if that must read it.
    fn request<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(line_end) = memchr(b'\r', data) else { return Ok(None) };
        if line_end > self.max_line_size || data.get(line_end + 1) != Some(&b'\n') {
            return Ok(None);
        }
        let line = &data[..line_end];
        let Some(method) = METHODS
            .iter()
            .position(|method| line.len() > method.len() && line.starts_with(method) && line[method.len()] == b' ')
        else {
            return Ok(None);
        };
        let rest = &line[METHODS[method].len() + 1..];
        let Some(version) = VERSIONS.iter().position(|version| {
            rest.len() > version.len() && rest.ends_with(version) && rest[rest.len() - version.len() - 1] == b' '
        }) else {
            return Ok(None);
        };
        let target = &rest[..rest.len() - VERSIONS[version].len() - 1];
        if target.first() != Some(&b'/') || !target.iter().copied().all(is_in_target) {
            return Ok(None);
        }
        let Some(Lines { names, values }) = split_lines(&data[line_end + 2..]) else { return Ok(None) };
        let Some(set) = self.sets.get(names.as_slice()) else { return Ok(None) };
        let Some(host) = set.host else { return Ok(None) };
        let is_current = version == 0;
        let (Some(length), Some(kept)) = (self.length(set, &values), keeps_alive(set, &values, true)) else {
            return Ok(None);
        };
        if set.is_coded || !is_host(values[host]) {
            return Ok(None);
        }
        let Parts { values, headers, fields } = self.parts(py, set, &values)?;
        let raw_target = PyBytes::new(py, target);
        let (raw_path, raw_query) = match memchr(b'?', target) {
            Some(mark) => (PyBytes::new(py, &target[..mark]), Some(PyBytes::new(py, &target[mark + 1..]))),
            None => (raw_target.clone(), None),
        };
        let head = self.make.bind(py).call1((&self.request_head,))?;
        head.setattr(intern!(py, "method"), &self.methods[method])?;
        head.setattr(intern!(py, "raw_target"), raw_target)?;
        head.setattr(intern!(py, "version"), &self.versions[version])?;
        head.setattr(intern!(py, "headers"), headers)?;
        head.setattr(intern!(py, "fields"), fields)?;
        head.setattr(intern!(py, "content_length"), length)?;
        head.setattr(intern!(py, "is_chunked"), false)?;
        head.setattr(intern!(py, "keeps_alive"), is_current && kept)?;
        head.setattr(intern!(py, "raw_path"), raw_path)?;
        head.setattr(intern!(py, "raw_query"), raw_query)?;
        head.setattr(intern!(py, "host"), &values[host])?;
        head.setattr(intern!(py, "has_body"), length.is_some_and(|length| length > 0))?;
        head.setattr(intern!(py, "names"), &set.names)?;
        head.setattr(intern!(py, "values"), PyTuple::new(py, values)?)?;
        Ok(Some(head))
    }

    /// Return the head of a response, as `s3proxy.s3.head.parse_response_head` does; None if that must read it.
    fn response<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(line_end) = memchr(b'\r', data) else { return Ok(None) };
        if data.get(line_end + 1) != Some(&b'\n') {
            return Ok(None);
        }
        let line = &data[..line_end];
        let Some(version) = VERSIONS.iter().position(|version| line.starts_with(version)) else { return Ok(None) };
        let [b' ', hundreds @ b'1'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b' ', reason @ ..] =
            &line[VERSIONS[version].len()..]
        else {
            return Ok(None);
        };
        if !reason.iter().copied().all(is_in_line) {
            return Ok(None);
        }
        let digit = |byte: &u8| u16::from(byte - b'0');
        let status = 100 * digit(hundreds) + 10 * digit(tens) + digit(ones);
        let Some(Lines { names, values }) = split_lines(&data[line_end + 2..]) else { return Ok(None) };
        let Some(set) = self.sets.get(names.as_slice()) else { return Ok(None) };
        let (Some(length), Some(kept)) = (self.length(set, &values), keeps_alive(set, &values, version == 0)) else {
            return Ok(None);
        };
        if set.is_coded {
            return Ok(None);
        }
        let Parts { headers, fields, .. } = self.parts(py, set, &values)?;
        let head = self.make.bind(py).call1((&self.response_head,))?;
        head.setattr(intern!(py, "version"), &self.versions[version])?;
        head.setattr(intern!(py, "status"), status)?;
        head.setattr(intern!(py, "reason"), PyBytes::new(py, reason))?;
        head.setattr(intern!(py, "headers"), headers)?;
        head.setattr(intern!(py, "fields"), fields)?;
        head.setattr(intern!(py, "content_length"), length)?;
        head.setattr(intern!(py, "is_chunked"), false)?;
        head.setattr(intern!(py, "keeps_alive"), kept)?;
        head.setattr(intern!(py, "names"), &set.names)?;
        Ok(Some(head))
    }
}
