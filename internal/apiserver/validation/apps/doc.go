// Package apps decides whether objects of the group apps are valid, in the
// field paths and words that Kubernetes uses. Its functions are pure.
package apps
