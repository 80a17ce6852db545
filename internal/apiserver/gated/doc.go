// Package gated forgets fields that belong to features which are not switched
// on: a client that sets one is not refused, and finds it gone. What an object
// already carries stays and may be changed. It takes objects as they are
// written, before they are validated, and holds no state.
//
// Scheduling groups are not among them: gangs of pods are served.
package gated
