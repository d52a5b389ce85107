//! Rooms of s3proxy in native code: functions of bytes, without I/O, clock or log.
//!
//! Each function does what a function of the Python package does, for the common case. For anything else it returns
//! None, and the Python function decides, also which error the client gets. No function here refuses a request.

use pyo3::prelude::*;

mod coverage;
mod heads;
mod onward;
mod signing;

#[pymodule]
fn s3proxy_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<coverage::Coverage>()?;
    module.add_class::<heads::Heads>()?;
    module.add_class::<signing::SigningKey>()?;
    module.add_function(wrap_pyfunction!(onward::signed_head, module)?)?;
    Ok(())
}
