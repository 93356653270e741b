//! Pure: a history of operations in, a verdict out.
