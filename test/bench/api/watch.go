package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/test/bench/figures"
)

const (
	watchers     = 100
	writesSecond = 1000
	catchUp      = time.Minute // the most that a watcher may lag when the writes end
)

// stamp precedes the moment of a write in what is written.
const stamp = "written@"

// watch lets many watchers follow what is written at a steady rate.
func (b *bench) watch(ctx context.Context) error {
	all := make([]*watcher, watchers)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var group sync.WaitGroup
	for i := range all {
		w, err := b.open(watching)
		if err != nil {
			return err
		}
		all[i] = w
		group.Go(w.read)
	}
	written, err := b.together(protobuf, paced(watching, writesSecond, b.Load), func(c *caller, i int) error {
		cm := configMap(fmt.Sprintf("w-%d", i))
		cm.Data["a"] = stamp + strconv.FormatInt(time.Now().UnixNano(), 10)
		return c.create(ctx, "configmaps", cm)
	})
	if err != nil {
		return err
	}
	late := time.AfterFunc(catchUp, stop)
	defer late.Stop()
	for _, w := range all {
		w.wait(watching, written.done)
	}
	lag := time.Since(written.end)
	stop()
	group.Wait()
	b.report(all, written, lag)
	return b.clear(ctx)
}

func (b *bench) report(all []*watcher, written rate, lag time.Duration) {
	var took []time.Duration
	dropped, missed := 0, 0
	for _, w := range all {
		took = append(took, w.took...)
		if n := written.done - len(w.took); n > 0 {
			missed += n
			dropped++
		}
	}
	what := fmt.Sprintf("watches: %d watchers, %d writes/s", watchers, writesSecond)
	b.Add(what+", written", written.String(), "")
	b.Add(what+", dropped watchers", fmt.Sprintf("%d (%d of %d events missed)", dropped, missed, written.done*watchers), "0")
	b.Add(what+", write → event, p50 / p99", figures.Milliseconds(figures.Percentile(took, 50))+" / "+figures.Milliseconds(figures.Percentile(took, 99)), "")
	b.Add(what+", server's CPU time for an event", fmt.Sprintf("%.1f µs (the last came %s after the last write)",
		float64(b.server.cpu()-written.began)/float64(time.Microsecond)/float64(max(1, len(took))), figures.Milliseconds(lag)), "")
}

// paced gives numbers at a steady rate for a while.
func paced(ctx context.Context, perSecond int, d time.Duration) func() (int, bool) {
	var n atomic.Int64
	began := time.Now()
	return func() (int, bool) {
		i := int(n.Add(1))
		due := time.Duration(i) * time.Second / time.Duration(perSecond)
		if due > d {
			return 0, false
		}
		return i, sleep(ctx, time.Until(began.Add(due))) == nil
	}
}

// watcher reads a watch as it comes over the wire, without decoding objects:
// what clients do with them is not the server's.
type watcher struct {
	body io.ReadCloser
	took []time.Duration

	seen  chan struct{} // has room for one: took became longer
	count atomic.Int64
	ended chan struct{}
}

func (b *bench) open(ctx context.Context) (*watcher, error) {
	transport, err := b.server.transport()
	if err != nil {
		return nil, err
	}
	c, err := b.server.client(protobuf, "")
	if err != nil {
		return nil, err
	}
	list, err := c.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, err
	}
	url := b.server.config.Host + "/api/v1/namespaces/" + namespace + "/configmaps?watch=1&allowWatchBookmarks=1&resourceVersion=" + list.ResourceVersion
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", protobuf+";type=watch")
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, errors.New("watch: " + resp.Status)
	}
	return &watcher{body: resp.Body, seen: make(chan struct{}, 1), ended: make(chan struct{})}, nil
}

// read ends with the stream.
func (w *watcher) read() {
	defer close(w.ended)
	defer w.body.Close()
	var length [4]byte
	var frame []byte
	for {
		if _, err := io.ReadFull(w.body, length[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint32(length[:]))
		if cap(frame) < n {
			frame = make([]byte, 2*n)
		}
		if _, err := io.ReadFull(w.body, frame[:n]); err != nil {
			return
		}
		at := bytes.Index(frame[:n], []byte(stamp))
		if at < 0 {
			continue // a bookmark
		}
		const digits = 19
		text := frame[at+len(stamp) : n]
		nanos, err := strconv.ParseInt(string(text[:min(digits, len(text))]), 10, 64)
		if err != nil {
			return
		}
		w.took = append(w.took, time.Since(time.Unix(0, nanos)))
		w.count.Add(1)
		select {
		case w.seen <- struct{}{}:
		default:
		}
	}
}

// wait returns when n events have come, or no more can.
func (w *watcher) wait(ctx context.Context, n int) {
	for w.count.Load() < int64(n) {
		select {
		case <-w.seen:
		case <-w.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}
