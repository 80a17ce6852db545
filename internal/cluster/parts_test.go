package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPartsStopInOppositeOrder(t *testing.T) {
	var mu sync.Mutex
	var ended []string
	ctx, cancel := context.WithCancel(t.Context())
	p := newParts(ctx)
	for _, name := range []string{"store", "api", "agent"} {
		p.start(name, func(ctx context.Context) error {
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			ended = append(ended, name)
			return nil
		})
	}
	cancel()
	if err := p.wait(ctx); err != nil {
		t.Fatal(err)
	}
	p.stop()
	if want := []string{"agent", "api", "store"}; !slices.Equal(ended, want) {
		t.Errorf("ended in the order %v, want %v", ended, want)
	}
}

func TestPartsReportWhoFailed(t *testing.T) {
	for name, result := range map[string]error{"disk full": errors.New("disk full"), "without being told to": nil} {
		p := newParts(t.Context())
		p.start("store", func(context.Context) error { return result })
		if err := p.wait(t.Context()); err == nil || !strings.Contains(err.Error(), "store: ") || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want the part and %q", err, name)
		}
		p.stop()
	}
}

func TestPartsGoOnWithoutOneThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		p := newParts(t.Context())
		stopped := false
		p.start("store", func(ctx context.Context) error { <-ctx.Done(); stopped = true; return nil })
		p.start("hangs", func(context.Context) error { <-release; return nil })
		began := time.Now()
		p.stop()
		if !stopped || time.Since(began) != stopTimeout {
			t.Errorf("store stopped: %v after %v, want after %v", stopped, time.Since(began), stopTimeout)
		}
		close(release)
	})
}
