//! Examples of Entra.
