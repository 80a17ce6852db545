package storage

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/feature"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
)

// embedded stands for the member in this process when the storage layer asks
// what its etcd can do. The in-process client has no endpoint to ask, and
// without an answer every consistent list would read the store instead of the
// watch cache.
type embedded struct{ version string }

func (e embedded) Endpoints() []string { return []string{"embedded"} }

func (e embedded) Status(context.Context, string) (*clientv3.StatusResponse, error) {
	return &clientv3.StatusResponse{Version: e.version}, nil
}

// DeclareEmbedded tells the storage layer, whose knowledge is one for the
// process, that it works on the embedded member of that version.
func DeclareEmbedded(ctx context.Context, version string) {
	feature.DefaultFeatureSupportChecker.CheckClient(ctx, embedded{version}, storage.RequestWatchProgress)
	// The function-call client cannot stream ranges; lists are read in pages.
	feature.DefaultFeatureSupportChecker.MarkUnsupported(storage.RangeStream)
}

// forgetPast switches off, for the process, that a watch cache keeps what the
// whole resource looked like after each write until that revision is compacted:
// with 1,000 nodes that is a quarter of a gigabyte for some minutes of heartbeats
// and some thousand pods. Lists of the past, and further pages, are read from the
// store instead.
func forgetPast() {
	if err := utilfeature.DefaultMutableFeatureGate.Set(string(features.ListFromCacheSnapshot) + "=false"); err != nil {
		panic(err) // the library no longer has it
	}
}
