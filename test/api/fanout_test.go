package api

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

const fanoutWait = 3 * time.Minute

// TestFanOut writes as fast as it can while many watch, some of them slowly
// and some only a part: each sees every event once and in order, in one watch.
func TestFanOut(t *testing.T) {
	const watchers, objects, rounds = 60, 20, 40
	s := apitest.StartWith(t, apitest.Options{NoSync: true})
	c := s.Clientset()
	ctx, cancel := context.WithTimeout(t.Context(), fanoutWait)
	defer cancel()
	list, err := c.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	seen := make([][]string, watchers)
	var watching sync.WaitGroup
	for i := range watchers {
		opts := metav1.ListOptions{ResourceVersion: list.ResourceVersion, LabelSelector: "kind=even"}
		if i%2 == 1 {
			opts.LabelSelector = "kind"
		}
		w, err := c.CoreV1().ConfigMaps(namespace).Watch(ctx, opts)
		if err != nil {
			t.Fatal(err)
		}
		watching.Go(func() {
			defer w.Stop()
			seen[i] = follow(ctx, w, i%10 == 9)
		})
	}
	var writing sync.WaitGroup
	for o := range objects {
		writing.Go(func() { rewrite(ctx, t, c, o, rounds) })
	}
	writing.Wait()
	last := configMap("last")
	last.Labels = map[string]string{"kind": "even"}
	if _, err := c.CoreV1().ConfigMaps(namespace).Create(ctx, last, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	watching.Wait()
	// Every object is made, changed and removed; half the time it is even.
	if got, want := len(seen[1]), objects*(rounds+1)+1; got != want {
		t.Errorf("the watch of all saw %d events, want %d", got, want)
	}
	for i := range watchers {
		if !slices.Equal(seen[i], seen[i%2]) {
			t.Errorf("watcher %d saw %d events, watcher %d saw %d, or in another order", i, len(seen[i]), i%2, len(seen[i%2]))
		}
	}
}

// rewrite makes an object, changes it some times, so that it comes and goes for
// those who watch the even ones, and removes it.
func rewrite(ctx context.Context, t *testing.T, c kubernetes.Interface, number, rounds int) {
	api := c.CoreV1().ConfigMaps(namespace)
	cm := configMap(fmt.Sprintf("o-%d", number))
	cm.Labels = map[string]string{"kind": "even"}
	cm, err := api.Create(ctx, cm, metav1.CreateOptions{})
	for i := 1; i < rounds && err == nil; i++ {
		cm.Labels["kind"] = []string{"even", "odd"}[i%2]
		cm, err = api.Update(ctx, cm, metav1.UpdateOptions{})
	}
	if err == nil {
		err = api.Delete(ctx, fmt.Sprintf("o-%d", number), metav1.DeleteOptions{})
	}
	if err != nil {
		t.Error(err)
	}
}

// follow notes the events until the last object; a slow one lags far behind.
func follow(ctx context.Context, w watch.Interface, slow bool) []string {
	var out []string
	for {
		select {
		case <-ctx.Done():
			return out
		case e, open := <-w.ResultChan():
			cm, ok := e.Object.(*corev1.ConfigMap)
			if !open || !ok {
				return append(out, fmt.Sprint("ended by ", e))
			}
			out = append(out, fmt.Sprintf("%s %s %s", e.Type, cm.Name, cm.ResourceVersion))
			if cm.Name == "last" {
				return out
			}
			if slow && len(out)%20 == 0 {
				time.Sleep(50 * time.Millisecond) // a reader that works
			}
		}
	}
}

// mirror is what one client knows by list and watch, as informers do.
type mirror struct {
	versions map[string]int // by name
	problem  string
}

// keep follows the server until done is closed and what it says is done has
// come. Whatever ends a watch, it goes on at the version that it has seen, and
// lists anew only where the server says that the version is gone.
func (m *mirror) keep(ctx context.Context, client func() kubernetes.Interface, until string) {
	version := ""
	for ctx.Err() == nil && m.problem == "" {
		api := client().CoreV1().ConfigMaps(namespace)
		if version == "" {
			list, err := api.List(ctx, metav1.ListOptions{})
			if err != nil {
				pauseShortly(ctx)
				continue
			}
			m.replace(list.Items)
			version = list.ResourceVersion
		}
		if _, done := m.versions[until]; done {
			return
		}
		w, err := api.Watch(ctx, metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true})
		if err != nil {
			if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
				version = ""
			}
			pauseShortly(ctx)
			continue
		}
		version = m.follow(w, version, until)
		w.Stop()
	}
}

func pauseShortly(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Millisecond):
	}
}

func (m *mirror) replace(items []corev1.ConfigMap) {
	state := map[string]int{}
	for _, cm := range items {
		v, _ := strconv.Atoi(cm.ResourceVersion)
		if v < m.versions[cm.Name] {
			m.problem = fmt.Sprintf("a list has %s at %d, %d was seen", cm.Name, v, m.versions[cm.Name])
		}
		state[cm.Name] = v
	}
	m.versions = state
}

// follow returns the version where to go on, "" where that is gone.
func (m *mirror) follow(w watch.Interface, version, until string) string {
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			if apierrors.IsResourceExpired(apierrors.FromObject(e.Object)) || apierrors.IsGone(apierrors.FromObject(e.Object)) {
				return ""
			}
			return version
		}
		cm, ok := e.Object.(*corev1.ConfigMap)
		if !ok {
			m.problem = fmt.Sprintf("unexpected %v", e)
			return version
		}
		now, _ := strconv.Atoi(cm.ResourceVersion)
		before, _ := strconv.Atoi(version)
		if e.Type != watch.Bookmark && now <= before {
			m.problem = fmt.Sprintf("%s %s at %d comes after %d", e.Type, cm.Name, now, before)
			return version
		}
		version = cm.ResourceVersion
		_, known := m.versions[cm.Name]
		switch e.Type {
		case watch.Added, watch.Modified:
			if known != (e.Type == watch.Modified) {
				m.problem = fmt.Sprintf("%s %s, known before: %v", e.Type, cm.Name, known)
			}
			m.versions[cm.Name] = now
		case watch.Deleted:
			if !known {
				m.problem = fmt.Sprintf("%s %s, which was not there", e.Type, cm.Name)
			}
			delete(m.versions, cm.Name)
		}
		if _, done := m.versions[until]; done || m.problem != "" {
			return version
		}
	}
	return version
}

// TestWatchersOutliveAKill kills the server again and again while many watch
// and some write: each watcher goes on where it was, sees nothing twice or out
// of order, and in the end knows what is there.
func TestWatchersOutliveAKill(t *testing.T) {
	const watchers, writers, kills, end = 40, 8, 3, "the-end"
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var mu sync.Mutex
	now := startChild(t, dir)
	client := func() kubernetes.Interface {
		mu.Lock()
		defer mu.Unlock()
		return now.client
	}
	mirrors := make([]*mirror, watchers)
	var watching sync.WaitGroup
	for i := range mirrors {
		m := &mirror{versions: map[string]int{}}
		mirrors[i] = m
		watching.Go(func() { m.keep(ctx, client, end) })
	}
	for round := range kills {
		acknowledged := &ledger{values: map[string]string{}}
		writing, stop := context.WithCancel(ctx)
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() { acknowledged.write(writing, client(), w, round) })
		}
		for acknowledged.size() < 20*writers && ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		now.kill(t)
		stop()
		group.Wait()
		next := startChild(t, dir)
		verify(t, next, acknowledged)
		mu.Lock()
		now = next
		mu.Unlock()
	}
	defer now.kill(t)
	if _, err := client().CoreV1().ConfigMaps(namespace).Create(ctx, configMap(end), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	watching.Wait()
	list, err := client().CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for _, cm := range list.Items {
		want[cm.Name], _ = strconv.Atoi(cm.ResourceVersion)
	}
	for i, m := range mirrors {
		if m.problem != "" {
			t.Errorf("watcher %d: %s", i, m.problem)
		}
		for name, version := range want {
			if m.versions[name] != version {
				t.Errorf("watcher %d knows %s at %d, it is at %d", i, name, m.versions[name], version)
				break
			}
		}
		if len(m.versions) != len(want) {
			t.Errorf("watcher %d knows %d objects, there are %d", i, len(m.versions), len(want))
		}
	}
}
