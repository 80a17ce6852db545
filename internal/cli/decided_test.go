package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/sinawi/sinawi/internal/instance"
	"github.com/sinawi/sinawi/internal/scheduler/decisions"
)

func TestAPodThatIsGoneHasItsDecisions(t *testing.T) {
	dir := t.TempDir()
	log, err := decisions.Open(instance.Dir(dir).Decisions(), decisions.Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.Local)
	log.Put(decisions.Decision{Time: at, Namespace: "shop", Pod: "web", UID: "1", Why: "0/1 nodes are available: 1 Insufficient cpu."})
	log.Put(decisions.Decision{Time: at, Namespace: "shop", Pod: "web", UID: "2", Node: "n1", Feasible: 3, Score: 150.25, RunnerUp: 90})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := log.Run(ctx); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	a := &app{Environment: Environment{Out: &out}, dir: dir}
	past, err := a.decided("shop", "web")
	if err := a.whyGone("shop", "web", "", past, err); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"Pod shop/web is gone.", "2026-05-01 12:00:00  none", "1 Insufficient cpu.", "the best of 3: it scores 150.25, the next 90"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("got\n%s\nwithout %q", out.String(), part)
		}
	}
	out.Reset()
	if err := a.whyGone("shop", "web", "json", past, nil); err != nil {
		t.Fatal(err)
	}
	var got story
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || !got.Gone || got.Name != "web" || len(got.Decisions) != 2 || got.Decisions[1].Node != "n1" {
		t.Errorf("got %+v (%v)", got, err)
	}
	past, err = a.decided("shop", "other")
	if err := a.whyGone("shop", "other", "", past, err); err == nil || !strings.Contains(err.Error(), "there is no pod other") {
		t.Errorf("of a pod that never was: %v", err)
	}
	a.showDecisions(got.Decisions, "2", nil)
	if !strings.Contains(out.String(), "Insufficient cpu. (an earlier pod of this name)") {
		t.Errorf("got\n%s", out.String())
	}
}
