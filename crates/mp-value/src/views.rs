//! Elements as the views of the `ndarray` crate, which does what numpy does with them: slices,
//! axes, arithmetic.

use mp_layout::{Error, ErrorKind, PlainSlice, Result};
use ndarray::{ArrayViewD, ArrayViewMutD, IxDyn, ShapeBuilder, StrideShape};

use crate::{FrozenNdArray, NdArray, NpyHeader};

impl<T: PlainSlice> NdArray<T> {
    /// Views elements of this array by their axes: all of them, of a guard of [`flat`](Self::flat),
    /// or those of one of its [`blocks`](Self::blocks).
    ///
    /// ```
    /// use mp_value::NdArray;
    ///
    /// let grid = NdArray::from_slice(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
    /// let all = grid.flat().lock()?;
    /// let sums = grid.view(&all)?.sum_axis(ndarray::Axis(0));
    /// assert_eq!(sums.iter().copied().collect::<Vec<_>>(), [5.0, 7.0, 9.0]);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if the elements are not whole indices of the slowest axis.
    pub fn view<'e>(&self, elements: &'e [T]) -> Result<ArrayViewD<'e, T>> {
        let shape = shape_of(self.header(), elements.len())?;
        ArrayViewD::from_shape(shape, elements).map_err(refused)
    }

    /// [`view`](Self::view) to write.
    ///
    /// ```
    /// use mp_value::NdArray;
    ///
    /// let grid = NdArray::<f64>::zeros(&[4, 3])?;
    /// let mut rows = grid.blocks(2)?.claim(1)?.claimed().expect("no other process is here");
    /// grid.view_mut(&mut rows)?.index_axis_mut(ndarray::Axis(1), 2).fill(1.0);
    /// drop(rows);
    /// assert_eq!([grid.get(&[1, 2])?, grid.get(&[2, 2])?, grid.get(&[3, 1])?], [0.0, 1.0, 0.0]);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`view`](Self::view).
    pub fn view_mut<'e>(&self, elements: &'e mut [T]) -> Result<ArrayViewMutD<'e, T>> {
        let shape = shape_of(self.header(), elements.len())?;
        ArrayViewMutD::from_shape(shape, elements).map_err(refused)
    }
}

impl<T: PlainSlice> FrozenNdArray<T> {
    /// Views all elements by their axes.
    ///
    /// ```
    /// let table = mp_value::NdArray::from_slice(&[2, 2], &[1, 2, 3, 4])?.freeze()?;
    /// assert_eq!(table.view()?[[1, 0]], 3);
    /// # Ok::<(), mp_layout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongSize`] if the crate `ndarray` refuses the shape.
    pub fn view(&self) -> Result<ArrayViewD<'_, T>> {
        let shape = shape_of(self.header(), self.len())?;
        ArrayViewD::from_shape(shape, self).map_err(refused)
    }
}

/// The shape of `len` elements: of all, or of so many indices of the slowest axis.
fn shape_of(header: &NpyHeader, len: usize) -> Result<StrideShape<IxDyn>> {
    let mut shape = header.shape().to_vec();
    if len != header.len() {
        let slowest = match header.is_fortran_order() {
            false => 0,
            true => shape.len().saturating_sub(1),
        };
        let row = header.strides().get(slowest).copied().unwrap_or(1);
        if !len.is_multiple_of(row) || header.len() == 0 || shape.is_empty() {
            return Err(Error::mismatch(
                ErrorKind::WrongSize,
                "view",
                "elements of an n-dimensional array",
                format_args!("{len} elements"),
                format_args!("a multiple of {row}, or all {}", header.len()),
            ));
        }
        shape[slowest] = len / row;
    }
    let shape = IxDyn(&shape);
    Ok(match header.is_fortran_order() {
        false => shape.into(),
        true => shape.f().into(),
    })
}

#[cold]
fn refused(error: ndarray::ShapeError) -> Error {
    Error::new(ErrorKind::WrongSize, "view", "an n-dimensional array")
        .with_detail(error.to_string())
}
