package seal

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apiserver/pkg/storage/value"
)

// pageSize is how many values are read at a time.
const pageSize = 200

// rewrite writes anew all values below prefix that t would write otherwise, and
// returns how many. Whoever watches sees them change. A value that somebody
// writes at the same time is left to him, and looked at again.
func rewrite(ctx context.Context, kv clientv3.KV, prefix string, t value.Transformer) (int, error) {
	total := 0
	for {
		n, lost, err := rewriteOnce(ctx, kv, prefix, t)
		total += n
		// The pass that finds nothing is the proof.
		if err != nil || n+lost == 0 {
			return total, err
		}
	}
}

func rewriteOnce(ctx context.Context, kv clientv3.KV, prefix string, t value.Transformer) (n, lost int, err error) {
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for {
		page, err := kv.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageSize))
		if err != nil {
			return n, lost, fmt.Errorf("read %s: %w", prefix, err)
		}
		for _, one := range page.Kvs {
			context := value.DefaultContext(one.Key)
			plain, stale, err := t.TransformFromStorage(ctx, one.Value, context)
			if err != nil {
				return n, lost, fmt.Errorf("open %s: %w", one.Key, err)
			}
			if !stale {
				continue
			}
			sealed, err := t.TransformToStorage(ctx, plain, context)
			if err != nil {
				return n, lost, fmt.Errorf("seal %s: %w", one.Key, err)
			}
			key := string(one.Key)
			done, err := kv.Txn(ctx).
				If(clientv3.Compare(clientv3.ModRevision(key), "=", one.ModRevision)).
				Then(clientv3.OpPut(key, string(sealed), clientv3.WithIgnoreLease())).
				Commit()
			if err != nil {
				return n, lost, fmt.Errorf("write %s: %w", one.Key, err)
			}
			if done.Succeeded {
				n++
			} else {
				lost++
			}
		}
		if !page.More {
			return n, lost, nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}
