package images

import (
	"context"
	"fmt"
	"sync"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// pullTimeout ends a pull that never ends; one without progress the runtime
// itself gives up sooner.
const pullTimeout = 4 * time.Hour

// result is how a pull ended.
type result struct {
	ref  string
	hash string        // of the credentials that opened it; empty: none
	took time.Duration // of the pull alone, without waiting for its turn
	err  error
}

// pull is one pull under way and who waits for it.
type pull struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiters int // guarded by pulls.mu
	result  result
}

// pulls joins equal pulls and bounds how many run at once.
type pulls struct {
	images cri.ImageServiceClient
	slots  chan struct{}

	mu    sync.Mutex // guards under and each pull's waiters
	under map[string]*pull
}

func newPulls(images cri.ImageServiceClient, parallel int) *pulls {
	return &pulls{images: images, slots: make(chan struct{}, parallel), under: map[string]*pull{}}
}

// pull pulls an image with the first of auths that opens it, or without any
// when there are none. It goes on for as long as somebody waits for it.
func (p *pulls) pull(ctx context.Context, spec *cri.ImageSpec, auths []*cri.AuthConfig) result {
	key := spec.Image + "\x00" + spec.RuntimeHandler
	for _, auth := range auths {
		key += "\x00" + hash(auth)
	}
	p.mu.Lock()
	under, ok := p.under[key]
	if !ok {
		// Others may wait for this pull when the first of them has left.
		own, cancel := context.WithTimeout(context.WithoutCancel(ctx), pullTimeout)
		under = &pull{done: make(chan struct{}), cancel: cancel}
		p.under[key] = under
		go func() {
			defer cancel()
			under.result = p.run(own, spec, auths)
			p.mu.Lock()
			if p.under[key] == under {
				delete(p.under, key)
			}
			p.mu.Unlock()
			close(under.done)
		}()
	}
	under.waiters++
	p.mu.Unlock()
	select {
	case <-under.done:
		return under.result
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if under.waiters--; under.waiters == 0 {
		under.cancel()
		if p.under[key] == under {
			delete(p.under, key)
		}
	}
	return result{err: ctx.Err()}
}

func (p *pulls) run(ctx context.Context, spec *cri.ImageSpec, auths []*cri.AuthConfig) result {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return result{err: ctx.Err()}
	}
	began := time.Now()
	if len(auths) == 0 {
		auths = []*cri.AuthConfig{nil}
	}
	var last error
	for _, auth := range auths {
		answer, err := p.images.PullImage(ctx, &cri.PullImageRequest{Image: spec, Auth: auth})
		if err != nil {
			last = err
			continue
		}
		if answer.ImageRef == "" {
			last = fmt.Errorf("the runtime answered no reference for image %s", spec.Image)
			continue
		}
		r := result{ref: answer.ImageRef, took: time.Since(began)}
		if auth != nil {
			r.hash = hash(auth)
		}
		return r
	}
	return result{err: last}
}
