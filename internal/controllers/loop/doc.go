// Package loop runs one controller: it turns changes seen by a cache into keys
// on a queue and calls a reconcile function for each key.
//
// It owns the goroutines of a controller (one per worker, two per watched kind)
// and gives them back when Run returns. It promises that one key is never
// reconciled by two workers at once, that a key changed while it is being
// reconciled is reconciled again, and that a key whose reconcile failed comes
// back with growing delay. It never polls: an idle loop does nothing. Delays of
// all keys sit in one heap with one timer.
package loop
