package store

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
)

// Direct is what the API server asks of the store, without a client between:
// the client's general operations are copied from form to form several times,
// half of all that a write allocates before the member has it.
func (s *Store) Direct() kubernetes.Interface {
	return direct{v3rpc.NewQuotaKVServer(s.etcd.Server)}
}

// direct asks the member's own handlers, which check and answer as they do over
// a wire.
type direct struct{ kv pb.KVServer }

// Get implements kubernetes.Interface.
func (d direct) Get(ctx context.Context, key string, opts kubernetes.GetOptions) (kubernetes.GetResponse, error) {
	got, err := d.kv.Range(ctx, &pb.RangeRequest{Key: []byte(key), Revision: opts.Revision, Limit: 1})
	if err != nil {
		return kubernetes.GetResponse{}, clientv3.ContextError(ctx, err)
	}
	return kubernetes.GetResponse{KV: first(got), Revision: got.Header.Revision}, nil
}

// List implements kubernetes.Interface.
func (d direct) List(ctx context.Context, prefix string, opts kubernetes.ListOptions) (kubernetes.ListResponse, error) {
	from := prefix
	if opts.Continue != "" {
		from = opts.Continue
	}
	got, err := d.kv.Range(ctx, &pb.RangeRequest{
		Key: []byte(from), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(prefix)), Limit: opts.Limit, Revision: opts.Revision,
	})
	if err != nil {
		return kubernetes.ListResponse{}, clientv3.ContextError(ctx, err)
	}
	return kubernetes.ListResponse{Kvs: got.Kvs, Count: got.Count, Revision: got.Header.Revision}, nil
}

// Count implements kubernetes.Interface.
func (d direct) Count(ctx context.Context, prefix string, _ kubernetes.CountOptions) (int64, error) {
	got, err := d.kv.Range(ctx, &pb.RangeRequest{
		Key: []byte(prefix), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(prefix)), CountOnly: true,
	})
	if err != nil {
		return 0, clientv3.ContextError(ctx, err)
	}
	return got.Count, nil
}

// OptimisticPut implements kubernetes.Interface. The value is read until it
// returns, and not kept.
func (d direct) OptimisticPut(ctx context.Context, key string, value []byte, expectedRevision int64, opts kubernetes.PutOptions) (kubernetes.PutResponse, error) {
	w := newWrite(key, expectedRevision, opts.GetOnFailure)
	w.put = pb.PutRequest{Key: w.compare.Key, Value: value, Lease: int64(opts.LeaseID)}
	w.asPut.RequestPut = &w.put
	w.then.Request = &w.asPut
	done, now, revision, err := w.commit(ctx, d.kv)
	return kubernetes.PutResponse{KV: now, Succeeded: done, Revision: revision}, err
}

// OptimisticDelete implements kubernetes.Interface.
func (d direct) OptimisticDelete(ctx context.Context, key string, expectedRevision int64, opts kubernetes.DeleteOptions) (kubernetes.DeleteResponse, error) {
	w := newWrite(key, expectedRevision, opts.GetOnFailure)
	w.then.Request = &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: w.compare.Key}}
	done, now, revision, err := w.commit(ctx, d.kv)
	return kubernetes.DeleteResponse{KV: now, Succeeded: done, Revision: revision}, err
}

// write is a transaction: what is done if a key is at a revision, and what is
// read if not. It is one piece of memory, as its parts live and die together.
type write struct {
	txn      pb.TxnRequest
	compare  pb.Compare
	revision pb.Compare_ModRevision
	then     pb.RequestOp
	asPut    pb.RequestOp_RequestPut
	put      pb.PutRequest
	get      pb.RequestOp
	asRange  pb.RequestOp_RequestRange
	read     pb.RangeRequest

	compares   [1]*pb.Compare
	thens, els [1]*pb.RequestOp
}

func newWrite(key string, expectedRevision int64, getOnFailure bool) *write {
	w := &write{}
	w.revision.ModRevision = expectedRevision
	w.compare.Key = []byte(key)
	w.compare.Result = pb.Compare_EQUAL
	w.compare.Target = pb.Compare_MOD
	w.compare.TargetUnion = &w.revision
	w.compares[0], w.thens[0] = &w.compare, &w.then
	w.txn.Compare, w.txn.Success = w.compares[:], w.thens[:]
	if getOnFailure {
		w.read.Key = w.compare.Key
		w.asRange.RequestRange = &w.read
		w.get.Request = &w.asRange
		w.els[0] = &w.get
		w.txn.Failure = w.els[:]
	}
	return w
}

// commit reports whether it was done and at which revision the store then is; if not,
// and that was asked for, the key as it is now, nil where there is none.
func (w *write) commit(ctx context.Context, kv pb.KVServer) (done bool, now *mvccpb.KeyValue, revision int64, err error) {
	got, err := kv.Txn(ctx, &w.txn)
	if err != nil {
		return false, nil, 0, clientv3.ContextError(ctx, err)
	}
	if !got.Succeeded && len(w.txn.Failure) > 0 {
		now, err = found(got)
	}
	return got.Succeeded, now, got.Header.Revision, err
}

// found is the key as it is, nil where there is none.
func found(r *pb.TxnResponse) (*mvccpb.KeyValue, error) {
	if len(r.Responses) == 0 {
		return nil, fmt.Errorf("invalid answer to a failed transaction: %v", r.Responses)
	}
	return first(r.Responses[0].GetResponseRange()), nil
}

func first(r *pb.RangeResponse) *mvccpb.KeyValue {
	if kvs := r.GetKvs(); len(kvs) == 1 {
		return kvs[0]
	}
	return nil
}
