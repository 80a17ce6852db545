package stack

import (
	"sync"
	"testing"
)

// deep calls itself with frames as a handler chain has them.
//
//go:noinline
func deep(n int) int {
	var frame [128]byte
	frame[n%128] = byte(n)
	if n == 0 {
		return int(frame[0])
	}
	return deep(n-1) + int(frame[n%128])
}

// BenchmarkGrow compares a goroutine that grows as it goes with one that asks first.
func BenchmarkGrow(b *testing.B) {
	for name, first := range map[string]func(){"as it goes": func() {}, "at first": Grow} {
		b.Run(name, func(b *testing.B) {
			var group sync.WaitGroup
			for b.Loop() {
				group.Go(func() {
					first()
					deep(80)
				})
				group.Wait()
			}
		})
	}
}
