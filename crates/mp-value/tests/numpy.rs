//! numpy itself opens our elements, and we its files.

#[path = "shared/python.rs"]
mod python;

use mp_layout::Plain;
use mp_value::{Array, RawArray};
use python::numpy;

#[derive(Clone, Copy, Debug, PartialEq, Plain)]
#[repr(C)]
struct Particle {
    at: [f64; 3],
    mass: f32,
    charge: i16,
    kind: Kind,
    alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Plain)]
#[repr(u8)]
enum Kind {
    Electron,
    Proton,
}

const ELECTRON: Particle = Particle {
    at: [1.0, 2.0, 3.0],
    mass: 0.5,
    charge: -1,
    kind: Kind::Electron,
    alive: true,
};

#[test]
fn opens_an_array_of_structures() {
    let array = Array::filled(3, ELECTRON).unwrap();
    let line = array.numpy_line();
    assert!(
        line.contains(
            "dtype=[('at', '<f8', (3,)), ('mass', '<f4'), ('charge', '<i2'), ('kind', '|u1'), ('alive', '|b1')]"
        ),
        "{line}"
    );
    let Some(seen) = numpy(&format!(
        "a = {line}\nprint(a['at'].sum(), a['mass'][2], a['charge'][0], a['alive'].all())\na['kind'][1] = 1\na['at'][1, 2] = -4.0"
    )) else {
        return;
    };
    assert_eq!(seen, "18.0 0.5 -1 True");
    let changed = Particle {
        at: [1.0, 2.0, -4.0],
        kind: Kind::Proton,
        ..ELECTRON
    };
    assert_eq!(array.to_vec().unwrap(), [ELECTRON, changed, ELECTRON]);
}

#[test]
fn opens_elements_that_are_arrays() {
    let array = RawArray::from_slice(&[[[1_u16, 2], [3, 4], [5, 6]]; 2]).unwrap();
    let line = array.numpy_line();
    let Some(seen) = numpy(&format!(
        "a = {line}\nprint(a.shape, a[1, 2])\na[1, 2, 0] = 9"
    )) else {
        return;
    };
    assert_eq!(seen, "(2, 3, 2) [5 6]");
    assert_eq!(array.get(1), [[1, 2], [3, 4], [9, 6]]);
}
