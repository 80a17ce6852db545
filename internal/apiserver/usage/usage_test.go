package usage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const answer = `# HELP container_cpu_usage_seconds_total [STABLE] Cumulative
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="a",namespace="default",pod="p"} %g %d
container_memory_working_set_bytes{container="a",namespace="default",pod="p"} 1.048576e+06 %[2]d
container_start_time_seconds{container="a",namespace="default",pod="p"} %[3]g
node_cpu_usage_seconds_total %[4]g %[2]d
node_memory_working_set_bytes 2.097152e+06 %[2]d
resource_scrape_error 0
`

func TestParse(t *testing.T) {
	now := time.Unix(1000, 0)
	text := fmt.Sprintf(answer, 2.5, now.UnixMilli(), 900.0, 70.0)
	s, err := parse(strings.NewReader(text), now)
	if err != nil {
		t.Fatal(err)
	}
	c := s.pods[podKey{"default", "p"}]["a"]
	if c.cpu != 2.5 || c.memory != 1<<20 || !c.started.Equal(time.Unix(900, 0)) || !c.at.Equal(now) || c.both != hasAll {
		t.Errorf("container: %+v", c)
	}
	if s.node.cpu != 70 || s.node.memory != 2<<20 || s.node.both != hasAll {
		t.Errorf("node: %+v", s.node)
	}
	for _, wrong := range []string{"name", `name{a="b} 1`, `name{a="b"} x`, `name{a="b"} 1 x`, `name{a="b"} 1 2 3`, `name{a`} {
		if _, err := parse(strings.NewReader(wrong), now); err == nil {
			t.Errorf("%s: no error", wrong)
		}
	}
	labels, rest, err := parseLabels(`a="x\"\\\n",b="y",} 1`)
	if err != nil || labels["a"] != "x\"\\\n" || labels["b"] != "y" || rest != " 1" {
		t.Errorf("labels %q, rest %q, %v", labels, rest, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(fmt.Sprintf(answer, 2.5, 1, 900.0, 70.0))
	f.Add(`container_cpu_usage_seconds_total{container="\\",pod="} 1`)
	f.Add("node_cpu_usage_seconds_total NaN")
	f.Fuzz(func(t *testing.T, text string) {
		now := time.Unix(1000, 0)
		s, err := parse(strings.NewReader(text), now)
		if err != nil {
			return
		}
		h := history{}.with(s)
		for key := range s.pods {
			h.pod(key) // must not panic
		}
		h.node()
	})
}

// at is a sample in which container a of pod p has used cpu.
func at(seconds int, cpu float64, started int) sample {
	now := time.Unix(int64(seconds), 0)
	return sample{
		at: now, node: counters{at: now, cpu: 2 * cpu, both: hasAll},
		pods: map[podKey]map[string]counters{{"n", "p"}: {
			"a": {at: now, cpu: cpu, memory: 7, started: time.Unix(int64(started), 0), both: hasAll},
		}},
	}
}

func TestRate(t *testing.T) {
	key := podKey{"n", "p"}
	for name, c := range map[string]struct {
		samples []sample
		cores   float64 // below 0: unknown
		window  time.Duration
	}{
		"nothing":                            {cores: -1},
		"one sample of an old container":     {samples: []sample{at(100, 5, 0)}, cores: -1},
		"one sample of a young container":    {samples: []sample{at(100, 5, 98)}, cores: 2.5, window: 2 * time.Second},
		"one sample of a newborn":            {samples: []sample{at(100, 5, 100)}, cores: -1},
		"two samples":                        {samples: []sample{at(100, 5, 0), at(102, 6, 0)}, cores: 0.5, window: 2 * time.Second},
		"the youngest that is a window away": {samples: []sample{at(90, 0, 0), at(95, 5, 0), at(98, 5, 0), at(100, 10, 0)}, cores: 1, window: 5 * time.Second},
		"started again":                      {samples: []sample{at(90, 50, 0), at(95, 1, 94), at(97, 2, 94)}, cores: 0.5, window: 2 * time.Second},
		"older samples are forgotten":        {samples: []sample{at(50, 0, 0), at(100, 10, 0)}, cores: -1},
	} {
		t.Run(name, func(t *testing.T) {
			var h history
			for _, s := range c.samples {
				h = h.with(s)
			}
			got, ok := h.pod(key)
			if ok != (c.cores >= 0) {
				t.Fatalf("known: %v", ok)
			}
			if ok && (got["a"].cores != c.cores || got["a"].window != c.window || got["a"].memory != 7) {
				t.Errorf("got %+v", got["a"])
			}
		})
	}
}

// kubelets answer as long as they are not broken.
type kubelets struct {
	asked  map[string]int
	broken map[string]bool
}

func (k *kubelets) Read(_ context.Context, node, _ string) (io.ReadCloser, error) {
	k.asked[node]++
	if k.broken[node] {
		return nil, errors.New("no")
	}
	now := time.Now()
	text := fmt.Sprintf(answer, float64(now.UnixMilli()%100000)/1000, now.UnixMilli(), 0.0, float64(now.Unix()%100))
	return io.NopCloser(strings.NewReader(text)), nil
}

func TestAsksOnlyWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kubelets{asked: map[string]int{}, broken: map[string]bool{}}
		c := newCollector(k, slog.New(slog.DiscardHandler))
		ask := func(nodes ...string) map[string]history { return c.histories(t.Context(), nodes) }
		cores := func(h history) float64 {
			m, _ := h.container(podKey{"default", "p"}, "a")
			return m.cores
		}
		if got := cores(ask("n1")["n1"]); got < 0.99 || got > 1.01 || k.asked["n1"] != 2 {
			t.Errorf("first question: %v cores after %d samples", got, k.asked["n1"])
		}
		ask("n1")
		if k.asked["n1"] != 2 {
			t.Errorf("asked again within a second")
		}
		for range 4 {
			time.Sleep(3 * time.Second)
			ask("n1")
		}
		if k.asked["n1"] != 6 {
			t.Errorf("%d samples, want one for each question", k.asked["n1"])
		}
		time.Sleep(time.Hour)
		if k.asked["n1"] != 6 {
			t.Error("asked while nobody wanted to know")
		}
		k.broken["n2"] = true
		if got := ask("n1", "n2"); len(got) != 1 || k.asked["n2"] != 1 || k.asked["n1"] != 8 {
			t.Errorf("histories %v, asked %v", got, k.asked)
		}
		if ask("n2"); k.asked["n2"] != 1 {
			t.Error("a node that does not answer is asked again at once")
		}
		k.broken["n2"] = false
		time.Sleep(time.Hour)
		if len(ask("n2")) != 1 || len(c.nodes) != 1 {
			t.Errorf("known nodes: %v", c.nodes)
		}
	})
}
