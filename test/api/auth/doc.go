// Package auth holds black-box tests of who is let in, what they may do, what
// is recorded of it and how secrets lie on disk: against a server in this
// process, by the files and flags that an administrator has.
package auth
