//! One shared object: a segment with a checked header, handles that travel to children, names, owners.
