package pidfd_test

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/sinawi/sinawi/internal/runtime/pidfd"
)

func TestWaitAndKill(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := pidfd.Of(cmd.Process)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	other, err := pidfd.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := p.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || p.Ended() {
		t.Fatalf("while it runs: %v, ended %v", err, p.Ended())
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := other.Wait(context.Background()); err != nil || !other.Ended() {
		t.Fatalf("after the kill: %v", err)
	}
	if err := p.Kill(); err != nil {
		t.Fatalf("kill again: %v", err)
	}
}
