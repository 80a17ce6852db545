// Package tree holds tests over the source tree itself: which way imports
// flow, that every package says what it is for, and that files, functions and
// packages stay small enough to read in one go. It has no code of its own.
package tree
