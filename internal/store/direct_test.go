package store_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"google.golang.org/protobuf/testing/protocmp"
)

// step is one request and what is answered, without the revision that the store
// has come to.
type step struct {
	name string
	ask  func(ctx context.Context, k kubernetes.Interface, lease clientv3.LeaseID) (any, error)
}

func steps() []step {
	put := func(name, key, value string, expected int64, getOnFailure bool) step {
		return step{name, func(ctx context.Context, k kubernetes.Interface, lease clientv3.LeaseID) (any, error) {
			return k.OptimisticPut(ctx, key, []byte(value), expected, kubernetes.PutOptions{GetOnFailure: getOnFailure, LeaseID: lease})
		}}
	}
	remove := func(name, key string, expected int64, getOnFailure bool) step {
		return step{name, func(ctx context.Context, k kubernetes.Interface, _ clientv3.LeaseID) (any, error) {
			return k.OptimisticDelete(ctx, key, expected, kubernetes.DeleteOptions{GetOnFailure: getOnFailure})
		}}
	}
	get := func(name, key string, rev int64) step {
		return step{name, func(ctx context.Context, k kubernetes.Interface, _ clientv3.LeaseID) (any, error) {
			return k.Get(ctx, key, kubernetes.GetOptions{Revision: rev})
		}}
	}
	list := func(name string, opts kubernetes.ListOptions) step {
		return step{name, func(ctx context.Context, k kubernetes.Interface, _ clientv3.LeaseID) (any, error) {
			return k.List(ctx, "/a/", opts)
		}}
	}
	return []step{
		get("nothing there", "/a/1", 0),
		put("create", "/a/1", "one", 0, false),
		put("create another", "/a/2", "two", 0, true),
		put("create what is there", "/a/1", "x", 0, false),
		put("create what is there and read it", "/a/1", "x", 0, true),
		put("update at a wrong revision", "/a/1", "x", 1<<40, true),
		put("update what is not there", "/a/3", "x", 7, true),
		put("no key", "", "x", 0, false),
		put("beside", "/b", "x", 0, false),
		put("empty", "/a/0", "", 0, false),
		put("too large", "/a/4", string(make([]byte, 4<<20)), 0, false),
		get("get", "/a/2", 0),
		get("get from the future", "/a/2", 1<<40),
		list("list", kubernetes.ListOptions{}),
		list("first page", kubernetes.ListOptions{Limit: 2}),
		list("next page", kubernetes.ListOptions{Limit: 2, Continue: "/a/1\x00"}),
		{"count", func(ctx context.Context, k kubernetes.Interface, _ clientv3.LeaseID) (any, error) {
			return k.Count(ctx, "/a/", kubernetes.CountOptions{})
		}},
		remove("delete at a wrong revision", "/a/1", 1, false),
		remove("delete at a wrong revision and read it", "/a/1", 1, true),
		remove("delete what is not there", "/a/3", 7, true),
		{"delete", func(ctx context.Context, k kubernetes.Interface, _ clientv3.LeaseID) (any, error) {
			got, err := k.Get(ctx, "/a/1", kubernetes.GetOptions{})
			if err != nil {
				return nil, err
			}
			return k.OptimisticDelete(ctx, "/a/1", got.KV.ModRevision, kubernetes.DeleteOptions{})
		}},
		{"update", func(ctx context.Context, k kubernetes.Interface, _ clientv3.LeaseID) (any, error) {
			got, err := k.Get(ctx, "/a/2", kubernetes.GetOptions{})
			if err != nil {
				return nil, err
			}
			return k.OptimisticPut(ctx, "/a/2", []byte("newer"), got.KV.ModRevision, kubernetes.PutOptions{GetOnFailure: true})
		}},
		list("list what is left", kubernetes.ListOptions{}),
		{"a request that was given up", func(ctx context.Context, k kubernetes.Interface, _ clientv3.LeaseID) (any, error) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return k.OptimisticPut(ctx, "/a/5", []byte("x"), 0, kubernetes.PutOptions{})
		}},
	}
}

// TestDirectAnswersAsTheClient asks two stores the same, one of them through
// etcd's own client.
func TestDirectAnswersAsTheClient(t *testing.T) {
	ours, theirs := open(t, t.TempDir()), open(t, t.TempDir())
	defer ours.Close()
	defer theirs.Close()
	client := &kubernetes.Client{Client: theirs.Client()}
	leases := [2]clientv3.LeaseID{}
	for i, c := range []*clientv3.Client{ours.Client(), theirs.Client()} {
		lease, err := c.Grant(t.Context(), 3600)
		if err != nil {
			t.Fatal(err)
		}
		leases[i] = lease.ID
	}
	ignored := protocmp.IgnoreFields(&mvccpb.KeyValue{}, "lease")
	for _, s := range steps() {
		got, err := s.ask(t.Context(), ours.Direct(), leases[0])
		want, wantErr := s.ask(t.Context(), client, leases[1])
		if diff := cmp.Diff(want, got, protocmp.Transform(), ignored); diff != "" {
			t.Errorf("%s: (-etcd's client, +direct)\n%s", s.name, diff)
		}
		if !sameError(err, wantErr) {
			t.Errorf("%s: error %v, etcd's client has %v", s.name, err, wantErr)
		}
	}
	kept, err := ours.Client().Leases(t.Context())
	if err != nil || len(kept.Leases) != 1 {
		t.Fatalf("leases %v, %v", kept, err)
	}
	with, err := ours.Client().TimeToLive(t.Context(), leases[0], clientv3.WithAttachedKeys())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(with.Keys); n == 0 {
		t.Error("nothing that was put has the lease")
	}
}

func sameError(a, b error) bool {
	if a == nil || b == nil {
		return a == b
	}
	var x, y rpctypes.EtcdError
	if errors.As(a, &x) || errors.As(b, &y) {
		return errors.As(a, &x) && errors.As(b, &y) && x == y
	}
	return a.Error() == b.Error()
}
