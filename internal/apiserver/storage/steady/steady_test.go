package steady

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"pgregory.net/rapid"
)

// sharedMap is an object as the watch cache tells live events.
type sharedMap struct{ *corev1.ConfigMap }

func (s sharedMap) CacheEncode(runtime.Identifier, func(runtime.Object, io.Writer) error, io.Writer) error {
	return nil
}

func (s sharedMap) GetObject() runtime.Object { return s.ConfigMap }

func event(kind watch.EventType, version int, live bool) watch.Event {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm", ResourceVersion: strconv.Itoa(version)}}
	if live {
		return watch.Event{Type: kind, Object: sharedMap{cm}}
	}
	return watch.Event{Type: kind, Object: cm}
}

// cache is a watch cache that ends watches when it likes. Its objects are all
// events; the initial state is that of the first initial ones, in any order.
type cache struct {
	storage.Interface
	initial []int
	events  int   // versions up to this come
	lives   []int // how many events each watch tells before it ends; 0: all
	oldest  int   // versions before it are gone from history
	forgets int   // and these are when a watch is taken up
	mute    int   // so many watches that are taken up end at once

	mu    sync.Mutex
	asked []string // guarded by mu; the versions from which watches began
}

func (c *cache) Watch(ctx context.Context, _ string, opts storage.ListOptions) (watch.Interface, error) {
	c.mu.Lock()
	number := len(c.asked)
	c.asked = append(c.asked, opts.ResourceVersion)
	c.mu.Unlock()
	from, _ := strconv.Atoi(opts.ResourceVersion)
	var tell []watch.Event
	wantsInitial := opts.SendInitialEvents != nil && *opts.SendInitialEvents || opts.SendInitialEvents == nil && from == 0
	switch {
	case wantsInitial:
		from = slices.Max(c.initial)
		for _, v := range c.initial {
			tell = append(tell, event(watch.Added, v, false))
		}
		if opts.SendInitialEvents != nil {
			end := event(watch.Bookmark, from, false)
			end.Object.(*corev1.ConfigMap).Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
			tell = append(tell, end)
		}
	case from < c.oldest || number > 0 && from < c.forgets:
		w := watch.NewFakeWithChanSize(1, false)
		w.Error(&metav1.Status{Code: 410})
		w.Stop()
		return w, nil
	}
	if number > 0 && number <= c.mute {
		w := watch.NewFakeWithChanSize(0, false)
		w.Stop()
		return w, nil
	}
	for v := from + 1; v <= c.events; v++ {
		// The first after a resumption come from history.
		tell = append(tell, event(watch.Modified, v, number == 0 || v > from+3))
	}
	lives := 0
	if number < len(c.lives) {
		lives = c.lives[number]
	}
	w := watch.NewFakeWithChanSize(len(tell), false)
	for i, e := range tell {
		if lives > 0 && i >= lives {
			w.Stop()
			break
		}
		w.Action(e.Type, e.Object)
	}
	return w, nil
}

// versions reads n events.
func versions(t interface{ Fatalf(string, ...any) }, w watch.Interface, n int) []int {
	var got []int
	timeout := time.After(time.Minute)
	for len(got) < n {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				return got
			}
			m, ok := e.Object.(metav1.Object)
			if !ok {
				t.Fatalf("unexpected event %v", e)
			}
			v, err := strconv.Atoi(m.GetResourceVersion())
			if err != nil {
				t.Fatalf("%v", err)
			}
			got = append(got, v)
		case <-timeout:
			t.Fatalf("only %d of %d events came: %v", len(got), n, got)
		}
	}
	return got
}

func numbers(from, to int) []int {
	var out []int
	for v := from; v <= to; v++ {
		out = append(out, v)
	}
	return out
}

// TestNothingLostDoubledOrMoved ends watches at any moment: their reader sees
// all versions once and in order.
func TestNothingLostDoubledOrMoved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.IntRange(1, 20).Draw(t, "from")
		c := &cache{
			events: from + rapid.IntRange(1, 300).Draw(t, "events"),
			lives:  rapid.SliceOfN(rapid.IntRange(1, 60), 0, 20).Draw(t, "lives"),
			mute:   rapid.SampledFrom([]int{0, 0, 0, 3}).Draw(t, "mute"),
		}
		w, err := Watches(c).Watch(context.Background(), "/", storage.ListOptions{ResourceVersion: strconv.Itoa(from)})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		if got, want := versions(t, w, c.events-from), numbers(from+1, c.events); !slices.Equal(got, want) {
			t.Fatalf("got %v\nwant %v", got, want)
		}
	})
}

// TestSlowReader lags by more than a queue holds.
func TestSlowReader(t *testing.T) {
	const events = 3*maxQueued + 100
	c := &cache{events: events, lives: []int{maxQueued + maxQueued/2, maxQueued}}
	w, err := Watches(c).Watch(t.Context(), "/", storage.ListOptions{ResourceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if got := versions(t, w, events-1); !slices.Equal(got, numbers(2, events)) {
		t.Errorf("got %d events, the first %v", len(got), got[:min(20, len(got))])
	}
}

func TestInitialEvents(t *testing.T) {
	yes := true
	initial := []int{7, 3, 9, 5}
	for name, test := range map[string]struct {
		opts  storage.ListOptions
		lives int
		want  []int // what comes of the versions up to 12
		again []string
	}{
		"any version, ended in the state": {storage.ListOptions{ResourceVersion: "0"}, 2, []int{7, 3}, nil},
		"any version, ended after it":     {storage.ListOptions{ResourceVersion: "0"}, 5, []int{7, 3, 9, 5, 10, 11, 12}, []string{"10"}},
		"latest, ended before it goes on": {storage.ListOptions{}, 4, []int{7, 3, 9, 5}, nil},
		"initial events, ended before their end": {
			storage.ListOptions{SendInitialEvents: &yes}, 4, []int{7, 3, 9, 5}, nil},
		"initial events, ended after their end": {
			storage.ListOptions{SendInitialEvents: &yes}, 5, []int{7, 3, 9, 5, 9, 10, 11, 12}, []string{"9"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &cache{initial: initial, events: 12, lives: []int{test.lives}}
			w, err := Watches(c).Watch(t.Context(), "/", test.opts)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			if got := versions(t, w, len(test.want)); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			if len(test.again) == 0 {
				ended(t, w)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if got := c.asked[1:]; !slices.Equal(got, test.again) {
				t.Errorf("taken up at %v, want %v", got, test.again)
			}
		})
	}
}

func ended(t *testing.T, w watch.Interface) {
	t.Helper()
	select {
	case e, open := <-w.ResultChan():
		if open {
			t.Errorf("unexpected event %v, want the end", e)
		}
	case <-time.After(time.Minute):
		t.Error("the watch does not end")
	}
}

// TestGivesUp ends the watch as the cache alone would: without a word.
func TestGivesUp(t *testing.T) {
	for why, c := range map[string]*cache{
		"the cache has forgotten where to go on":   {events: 100, lives: []int{3}, forgets: 90},
		"the cache ends whatever is taken up anew": {events: 100, lives: []int{3}, mute: maxFruitless + 1},
	} {
		t.Run(why, func(t *testing.T) {
			w, err := Watches(c).Watch(t.Context(), "/", storage.ListOptions{ResourceVersion: "60"})
			if err != nil {
				t.Fatal(err)
			}
			if got := versions(t, w, 3); !slices.Equal(got, []int{61, 62, 63}) {
				t.Errorf("got %v", got)
			}
			ended(t, w)
		})
	}
}

// TestErrorAtOnce passes on why a watch cannot begin.
func TestErrorAtOnce(t *testing.T) {
	c := &cache{events: 100, oldest: 50}
	w, err := Watches(c).Watch(t.Context(), "/", storage.ListOptions{ResourceVersion: "3"})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-w.ResultChan():
		if e.Type != watch.Error {
			t.Errorf("got %v, want an error", e)
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing comes")
	}
	ended(t, w)
}

// stopping is a source that tells nothing and can only be stopped.
type stopping struct {
	storage.Interface
	source *watch.FakeWatcher
	err    error
}

func (s *stopping) Watch(context.Context, string, storage.ListOptions) (watch.Interface, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.source, nil
}

func TestStop(t *testing.T) {
	for _, how := range []string{"by its reader", "by its context"} {
		t.Run(how, func(t *testing.T) {
			s := &stopping{source: watch.NewFake()}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w, err := Watches(s).Watch(ctx, "/", storage.ListOptions{ResourceVersion: "1"})
			if err != nil {
				t.Fatal(err)
			}
			if how == "by its reader" {
				w.Stop()
				w.Stop()
			} else {
				cancel()
			}
			ended(t, w)
			if !s.source.IsStopped() {
				t.Error("the source goes on")
			}
		})
	}
}

func TestRefused(t *testing.T) {
	refused := errors.New("not ready")
	if _, err := Watches(&stopping{err: refused}).Watch(t.Context(), "/", storage.ListOptions{}); !errors.Is(err, refused) {
		t.Errorf("got %v, want %v", err, refused)
	}
}

func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var want []string
		next, sum := 0, 0
		for _, push := range rapid.SliceOfN(rapid.Bool(), 0, 2000).Draw(t, "push") {
			if push {
				next++
				q.push(event(watch.Added, next, next%2 == 0))
				want = append(want, fmt.Sprint(next))
				sum += weight(event(watch.Added, next, next%2 == 0))
			} else if !q.empty() {
				got := q.first()
				if v := got.Object.(metav1.Object).GetResourceVersion(); v != want[0] {
					t.Fatalf("got %s, want %s", v, want[0])
				}
				q.pop()
				sum -= weight(got)
				want = want[1:]
			}
			if q.weight != sum || q.empty() != (len(want) == 0) {
				t.Fatalf("weight %d, want %d; empty %v with %d in it", q.weight, sum, q.empty(), len(want))
			}
		}
	})
}
