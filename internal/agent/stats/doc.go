// Package stats measures a node and its pods when it is asked to: processor,
// memory, disk and network, in the form of the kubelet's summary and as metrics
// for Prometheus. Between questions it does nothing and keeps only what a rate
// or a costly look at a directory needs.
package stats

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Options say what is measured.
type Options struct {
	NodeName string
	// Dir holds pods/UID/volumes; its file system is the node's.
	Dir string
	// LogDir holds the pods' logs; empty: they are not measured.
	LogDir string
	Log    *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Reader measures.
type Reader struct {
	runtime cri.RuntimeServiceClient
	images  cri.ImageServiceClient
	options Options

	mu     sync.Mutex // guards the fields below
	cpu    cpuSample  // of the last summary, for the node's rate
	usages map[string]usage
}

// New returns a Reader over a runtime.
func New(runtime cri.RuntimeServiceClient, images cri.ImageServiceClient, options Options) *Reader {
	options.Log = cmp.Or(options.Log, slog.Default())
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Reader{runtime: runtime, images: images, options: options, usages: map[string]usage{}}
}

// sample is what the runtime says at one moment.
type sample struct {
	pods []*cri.PodSandboxStats
	// containers by id, for what statistics lack.
	containers map[string]*cri.Container
}

func (r *Reader) sample(ctx context.Context) (sample, error) {
	stats, err := r.runtime.ListPodSandboxStats(ctx, &cri.ListPodSandboxStatsRequest{})
	if err != nil {
		return sample{}, fmt.Errorf("list statistics of pods: %w", err)
	}
	list, err := r.runtime.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		return sample{}, fmt.Errorf("list containers: %w", err)
	}
	s := sample{pods: stats.Stats, containers: make(map[string]*cri.Container, len(list.Containers))}
	for _, c := range list.Containers {
		s.containers[c.Id] = c
	}
	return s, nil
}
