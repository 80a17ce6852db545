package store

import (
	"context"
	"expvar"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// starting is held while a member starts: etcd tells the state of raft only by
// a variable of the process, which is that of the member started last.
var starting sync.Mutex

const (
	electInterval = time.Millisecond
	// electTimeout is when a member that does not come so far is left to
	// campaign by its ticks: it has very much to apply, or is breaking down.
	electTimeout = 20 * time.Second
)

// startElected starts a member and lets it, the only one, campaign at once and
// not after an election timeout.
func startElected(ctx context.Context, cfg *embed.Config, broken <-chan struct{}) (*embed.Etcd, error) {
	starting.Lock()
	defer starting.Unlock()
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, electTimeout)
	defer cancel()
	elect(ctx, etcd.Server, broken)
	return etcd, nil
}

// elect returns when there is a leader, or none will be made here.
//
// A campaign before raft has counted all committed entries as applied is
// refused when it might hold a change of members; and where the log in memory
// is compacted meanwhile, raft panics when it looks. The server's own indices
// run ahead of raft's, so raft itself is asked. Once all is applied it stays
// so: nothing is committed without a leader.
func elect(ctx context.Context, server *etcdserver.EtcdServer, broken <-chan struct{}) {
	self := uint64(server.MemberID())
	campaign := &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: &self, To: &self}
	ticker := time.NewTicker(electInterval)
	defer ticker.Stop()
	for server.Leader() == 0 {
		if now := raftStatus(); now.ID == self && now.GetCommit() > 0 && now.Applied == now.GetCommit() {
			// An error is a member that stops, which Open sees too.
			_ = server.Process(ctx, campaign)
		}
		select {
		case <-ticker.C:
		case <-server.StopNotify():
			return
		case <-broken:
			return
		case <-ctx.Done():
			return
		}
	}
}

// raftStatus is the state of the member started last; zero when etcd does not
// tell it.
func raftStatus() raft.Status {
	if f, ok := expvar.Get("raft.status").(expvar.Func); ok {
		if s, ok := f.Value().(raft.Status); ok {
			return s
		}
	}
	return raft.Status{}
}
