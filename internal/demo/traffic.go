package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// traffic sends requests to the application, each over a connection of its own
// so that every one is spread anew, and counts the answers.
type traffic struct {
	url    string
	client *http.Client

	mu     sync.Mutex
	sent   int            // guarded by mu, as all below
	failed []error        // one for each request that got no good answer
	byPod  map[string]int // answers by pod
}

func newTraffic(url string) *traffic {
	return &traffic{
		url: url, byPod: map[string]int{},
		client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
}

// one sends one request.
func (t *traffic) one(ctx context.Context) {
	pod, err := t.ask(ctx)
	if ctx.Err() != nil {
		return // cut off by us, which says nothing about the application
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent++
	if err != nil {
		t.failed = append(t.failed, err)
		return
	}
	t.byPod[pod]++
}

func (t *traffic) ask(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
	if err != nil {
		return "", err
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("answer %s", resp.Status)
	}
	var answer struct {
		Pod string `json:"pod"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("answer %q: %w", body, err)
	}
	return answer.Pod, nil
}

// interval between requests of one sender: about a hundred a second each.
const interval = 10 * time.Millisecond

// during sends requests from several senders for as long as do takes.
func (t *traffic) during(ctx context.Context, senders int, do func() error) error {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					t.one(ctx)
				}
			}
		})
	}
	err := do()
	stop()
	wg.Wait()
	return err
}
