package apitest

import (
	"testing"
	"time"
)

// patience ends a test that would wait for ever; nothing is asserted about how
// long a wait takes.
const patience = 2 * time.Minute

// Eventually waits until f returns nil: it asks about what comes true some time
// after the write that causes it.
func Eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
