//! How numpy writes a type.

use super::{Content, TypeLayout};

impl TypeLayout {
    /// The dtype that numpy gives this type, as Python text: `'<f8'`, `[('x', '<f4'), ('at', '<f8',
    /// (3,))]`, or for an array by itself `('<f4', (3,))`.
    ///
    /// The text is also what the header of an `.npy` file says. Integers of 128 bits, which numpy
    /// has not, are bytes (`'|V16'`); an enum is its integer.
    ///
    /// ```
    /// use mp_layout::Plain;
    ///
    /// assert_eq!(f64::LAYOUT.numpy_dtype(), "'<f8'");
    /// assert_eq!(<[[f32; 3]; 2]>::LAYOUT.numpy_dtype(), "('<f4', (2, 3))");
    /// ```
    #[must_use]
    pub fn numpy_dtype(&self) -> String {
        let (element, shape) = self.element_and_shape();
        match shape.as_slice() {
            [] => element.numpy_scalar(),
            shape => format!("({}, {})", element.numpy_scalar(), numpy_tuple(shape)),
        }
    }

    /// What is no array, and how many of it lie along each axis.
    fn element_and_shape(&self) -> (&Self, Vec<usize>) {
        let (mut element, mut shape) = (self, Vec::new());
        while let Content::Array {
            element: inner,
            len,
        } = element.content
        {
            shape.push(len);
            element = inner;
        }
        (element, shape)
    }

    /// The dtype of what is no array.
    fn numpy_scalar(&self) -> String {
        match self.content {
            Content::Code(code) => format!("'{}'", code.numpy_name()),
            Content::Integer => format!("'{}'", self.numpy_integer()),
            Content::Variants { integer, .. } => integer.numpy_scalar(),
            Content::Fields(_) if self.name == "complex64" => "'<c8'".to_owned(),
            Content::Fields(_) if self.name == "complex128" => "'<c16'".to_owned(),
            Content::Fields(fields) => {
                let fields: Vec<_> = fields
                    .iter()
                    .filter(|field| field.layout.size != 0)
                    .map(|field| field.layout.numpy_field(field.name))
                    .collect();
                format!("[{}]", fields.join(", "))
            }
            Content::Array { .. } => self.numpy_dtype(),
        }
    }

    fn numpy_field(&self, name: &str) -> String {
        let (element, shape) = self.element_and_shape();
        let dtype = element.numpy_scalar();
        match shape.as_slice() {
            [] => format!("('{name}', {dtype})"),
            shape => format!("('{name}', {dtype}, {})", numpy_tuple(shape)),
        }
    }

    /// An integer without a type code: of the size of an address, or of 128 bits.
    fn numpy_integer(&self) -> String {
        match self.size {
            16 => "|V16".to_owned(),
            size if self.name.starts_with('i') => format!("<i{size}"),
            size => format!("<u{size}"),
        }
    }
}

/// A shape as Python writes it: `()`, `(3,)`, `(2, 3)`.
#[must_use]
pub fn numpy_tuple(shape: &[usize]) -> String {
    match shape {
        [len] => format!("({len},)"),
        _ => {
            let lens: Vec<_> = shape.iter().map(usize::to_string).collect();
            format!("({})", lens.join(", "))
        }
    }
}
