//! The header of an `.npy` file.
//!
//! # Source
//!
//! numpy's `numpy/lib/format.py`, versions 1.0, 2.0 and 3.0.
//!
//! # Layout
//!
//! ```text
//! 0    6   magic, "\x93NUMPY"
//! 6    2   version, major and minor
//! 8    2   bytes of the text, little endian; 4 from version 2.0 on
//! 10       the text: a Python dict of descr, fortran_order and shape; spaces; a newline
//!          the elements
//! ```
//!
//! The text is read as what it is, a dict of literals: nothing in it is evaluated.

use mp_layout::{Error, ErrorKind, Result, TypeLayout, numpy_tuple};

mod literal;

use literal::Literal;

/// What numpy puts in front of the elements in a file: their type, shape and order.
///
/// ```
/// use mp_value::NpyHeader;
///
/// let bytes = b"\x93NUMPY\x01\x00\x36\x00{'descr':'<f8', 'fortran_order':False, 'shape':(2,3)}\n";
/// let header = NpyHeader::parse(&bytes[..], "a file").unwrap();
/// assert_eq!((header.dtype(), header.shape()), ("'<f8'", &[2, 3][..]));
/// assert_eq!((header.len(), header.data_offset()), (6, 64));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NpyHeader {
    dtype: String,
    fortran_order: bool,
    shape: Vec<usize>,
    len: usize,
    data_offset: usize,
}

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The most bytes of a header that is read; numpy itself refuses more than 10000 unless it trusts
/// the file.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// The most axes numpy has.
const MOST_AXES: usize = 64;

/// A header of ours is a multiple of this, so that the elements start on a page.
const PAGE: usize = 4096;

impl NpyHeader {
    /// The header of elements of `layout`, in C order.
    pub(crate) fn of(layout: &TypeLayout, shape: &[usize], object: &str) -> Result<Self> {
        let dtype = layout.numpy_dtype();
        let refuse = |detail: String| {
            Err(Error::new(ErrorKind::InvalidInput, "create", object).with_detail(detail))
        };
        if dtype.starts_with('(') || layout.size() == 0 {
            return refuse(format!(
                "elements of type {layout} have no dtype; a number, a bool or a structure has, and the shape can have more axes"
            ));
        }
        if shape.len() > MOST_AXES {
            return refuse(format!("{} axes, {MOST_AXES} are possible", shape.len()));
        }
        let Some(len) = product(shape) else {
            let shape = numpy_tuple(shape);
            return refuse(format!(
                "shape {shape} has more elements than there are addresses"
            ));
        };
        let mut header = Self {
            dtype,
            fortran_order: false,
            shape: shape.to_vec(),
            len,
            data_offset: 0,
        };
        header.data_offset = header.to_bytes().len();
        if header.data_offset > MOST_BYTES {
            return refuse(format!(
                "its type has a name of {} bytes",
                header.dtype.len()
            ));
        }
        Ok(header)
    }

    /// Reads the header at the start of `bytes`, of a file that errors call `object`.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Foreign`] if it is no `.npy` file, [`ErrorKind::WrongVersion`] if it is one
    ///   of a version to come.
    /// - [`ErrorKind::Truncated`] if `bytes` end within the header.
    /// - [`ErrorKind::Corrupt`] if its text is not a dict of literals with the keys `descr`,
    ///   `fortran_order` and `shape`, or if one of these is not what it has to be;
    ///   [`ErrorKind::WrongSize`] if the shape has more elements than addresses.
    pub fn parse(bytes: &[u8], object: &str) -> Result<Self> {
        let (text, data_offset) = text_of(bytes, object)?;
        let corrupt = |detail: String| {
            Error::new(ErrorKind::Corrupt, "read the .npy header of", object).with_detail(detail)
        };
        let entries = Literal::parse_dict(&text).map_err(corrupt)?;
        let [mut dtype, mut fortran_order, mut shape] = [None, None, None];
        for (key, value) in entries {
            let place = match key.as_str() {
                "descr" => &mut dtype,
                "fortran_order" => &mut fortran_order,
                "shape" => &mut shape,
                _ => {
                    let expected = "descr, fortran_order and shape were expected";
                    return Err(corrupt(format!("it has the key {key:?}; {expected}")));
                }
            };
            if place.replace(value).is_some() {
                return Err(corrupt(format!("it has the key {key:?} twice")));
            }
        }
        let missing = |key| move || format!("it has no key {key:?}");
        let dtype = dtype.ok_or_else(missing("descr")).map_err(corrupt)?;
        let order = fortran_order
            .ok_or_else(missing("fortran_order"))
            .map_err(corrupt)?;
        let shape = shape.ok_or_else(missing("shape")).map_err(corrupt)?;
        let Literal::Bool(fortran_order) = order else {
            return Err(corrupt(format!(
                "fortran_order is {order}; True or False was expected"
            )));
        };
        let shape = shape_of(&shape).map_err(corrupt)?;
        let len = product(&shape).ok_or_else(|| {
            let (kind, operation) = (ErrorKind::WrongSize, "read the .npy header of");
            let found = format!("shape {}", numpy_tuple(&shape));
            Error::mismatch(
                kind,
                operation,
                object,
                found,
                "as many elements as there are addresses",
            )
        })?;
        Ok(Self {
            dtype: dtype.canonical_dtype(),
            fortran_order,
            shape,
            len,
            data_offset,
        })
    }

    /// The bytes of the header: text that ends where the elements start, at a multiple of 4096.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let order = if self.fortran_order { "True" } else { "False" };
        let (dtype, shape) = (&self.dtype, numpy_tuple(&self.shape));
        let text = format!("{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}");
        // Version 1.0 has 2 bytes for the length, 3.0 has 4 and is UTF-8.
        let is_first = text.is_ascii() && text.len() < usize::from(u16::MAX) - PAGE;
        let start = if is_first { 10 } else { 12 };
        let size = (start + text.len() + 1).next_multiple_of(PAGE);
        let mut bytes = MAGIC.to_vec();
        bytes.extend([if is_first { 1 } else { 3 }, 0]);
        // Both fit: a shorter one by `is_first`, and `of` refuses what has more than `MOST_BYTES`.
        let text_size = ((size - start) as u32).to_le_bytes();
        bytes.extend(&text_size[..start - 8]);
        bytes.extend(text.as_bytes());
        bytes.resize(size - 1, b' ');
        bytes.push(b'\n');
        bytes
    }

    /// The elements' type as numpy writes it: `'<f8'`, `[('x', '<f4'), ('y', '<f4')]`.
    pub fn dtype(&self) -> &str {
        &self.dtype
    }

    /// Whether the first index changes fastest along the memory, as in Fortran, and not the last.
    pub fn is_fortran_order(&self) -> bool {
        self.fortran_order
    }

    /// Elements along each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    #[expect(
        clippy::len_without_is_empty,
        reason = "it is not a collection of them"
    )]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes from the start of the file to the elements.
    pub fn data_offset(&self) -> usize {
        self.data_offset
    }

    /// Elements from one index to the next, for each axis.
    pub(crate) fn strides(&self) -> Vec<usize> {
        let mut strides = vec![0; self.shape.len()];
        let mut stride = 1;
        let mut axis = |(stride_of, len): (&mut usize, &usize)| {
            *stride_of = stride;
            stride *= (*len).max(1);
        };
        let axes = strides.iter_mut().zip(&self.shape);
        if self.fortran_order {
            axes.for_each(&mut axis);
        } else {
            axes.rev().for_each(&mut axis);
        }
        strides
    }

    /// The place of the element at `index` among all.
    pub(crate) fn place_of(&self, index: &[usize]) -> Result<usize> {
        let is_there = index.len() == self.shape.len()
            && index
                .iter()
                .zip(&self.shape)
                .all(|(index, len)| index < len);
        if !is_there {
            return Err(Error::mismatch(
                ErrorKind::InvalidInput,
                "reach",
                format!("element {index:?}"),
                format_args!("shape {}", numpy_tuple(&self.shape)),
                "an index within it",
            ));
        }
        let along = |axes: &mut dyn Iterator<Item = (&usize, &usize)>| {
            axes.fold(0, |place, (index, len)| place * len + index)
        };
        let axes = index.iter().zip(&self.shape);
        Ok(match self.fortran_order {
            false => along(&mut axes.into_iter()),
            true => along(&mut axes.rev()),
        })
    }

    /// Checks that the elements are of `layout`, and all within a file of `size` bytes.
    pub(crate) fn check(&self, layout: &TypeLayout, size: usize, object: &str) -> Result<()> {
        let expected = layout.numpy_dtype();
        if self.dtype != expected {
            let found = format!("dtype {}{}", self.dtype, self.reason());
            let expected = format!("{expected}, that of {layout}");
            return Err(Error::mismatch(
                ErrorKind::WrongType,
                "open",
                object,
                found,
                expected,
            ));
        }
        let end = (self.len.checked_mul(layout.size()))
            .and_then(|bytes| bytes.checked_add(self.data_offset));
        if end.is_none_or(|end| end > size) {
            let shape = numpy_tuple(&self.shape);
            let expected = format!(
                "shape {shape} of {} bytes each, from byte {} on",
                layout.size(),
                self.data_offset
            );
            let found = format!("{size} bytes");
            return Err(Error::mismatch(
                ErrorKind::Truncated,
                "open",
                object,
                found,
                expected,
            ));
        }
        Ok(())
    }

    /// What is to be said of a dtype that none of our types can have.
    fn reason(&self) -> &'static str {
        let begins = |order| self.dtype.contains(&format!("'{order}"));
        if begins(">") {
            " (big endian; save it with .astype(a.dtype.newbyteorder('<')))"
        } else if begins("|O") {
            " (Python objects, which mean nothing outside Python)"
        } else {
            ""
        }
    }
}

/// The text of the header, and where it ends.
fn text_of(bytes: &[u8], object: &str) -> Result<(String, usize)> {
    let short = |expected: usize| {
        let found = format!("{} bytes", bytes.len());
        let expected = format!("a header of {expected}");
        let operation = "read the .npy header of";
        Error::mismatch(ErrorKind::Truncated, operation, object, found, expected)
    };
    let refuse = |kind, found: String, expected: &str| {
        Err(Error::mismatch(kind, "open", object, found, expected))
    };
    let magic = bytes.get(..6).ok_or_else(|| short(10))?;
    if magic != MAGIC {
        let found = format!(
            "a file that starts with {:?}",
            magic.escape_ascii().to_string()
        );
        return refuse(ErrorKind::Foreign, found, "an .npy file");
    }
    let [major, minor, low, high] = *bytes
        .get(6..10)
        .and_then(<[u8]>::first_chunk)
        .ok_or_else(|| short(10))?;
    let (start, size) = match (major, minor) {
        (1, 0) => (10, usize::from(u16::from_le_bytes([low, high]))),
        (2 | 3, 0) => {
            let size = bytes
                .get(8..12)
                .and_then(<[u8]>::first_chunk)
                .ok_or_else(|| short(12))?;
            (12, u32::from_le_bytes(*size) as usize)
        }
        _ => {
            let found = format!(".npy version {major}.{minor}");
            return refuse(ErrorKind::WrongVersion, found, "1.0, 2.0 or 3.0");
        }
    };
    let end = start + size;
    if end > MOST_BYTES {
        let (found, expected) = (
            format!("a header of {end} bytes"),
            format!("at most {MOST_BYTES}"),
        );
        return refuse(ErrorKind::Corrupt, found, &expected);
    }
    let text = bytes.get(start..end).ok_or_else(|| short(end))?;
    let text = match major {
        3 => std::str::from_utf8(text)
            .map(str::to_owned)
            .map_err(|error| {
                Error::new(ErrorKind::Corrupt, "read the .npy header of", object)
                    .with_detail(format!("its text is no UTF-8: {error}"))
            })?,
        // Latin-1.
        _ => text.iter().map(|byte| char::from(*byte)).collect(),
    };
    Ok((text, end))
}

/// The shape that a literal says.
fn shape_of(literal: &Literal) -> Result<Vec<usize>, String> {
    let refused = || format!("shape is {literal}; a tuple of lengths was expected");
    let Literal::Tuple(lens) = literal else {
        return Err(refused());
    };
    if lens.len() > MOST_AXES {
        return Err(format!(
            "it has {} axes, {MOST_AXES} are possible",
            lens.len()
        ));
    }
    let len = |len: &Literal| match len {
        Literal::Int(len) => usize::try_from(*len).map_err(|_| refused()),
        _ => Err(refused()),
    };
    lens.iter().map(len).collect()
}

/// The number of elements; `None` if an axis alone, or all together, has more than addresses. An
/// axis without elements makes none of the others harmless: their strides would still overflow.
fn product(shape: &[usize]) -> Option<usize> {
    let mut full = shape.iter().map(|len| (*len).max(1));
    let strides = full.try_fold(1_usize, usize::checked_mul)?;
    let fits = strides <= isize::MAX as usize;
    let len = if shape.contains(&0) { 0 } else { strides };
    fits.then_some(len)
}

#[cfg(test)]
mod tests;
