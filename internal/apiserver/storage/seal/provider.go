package seal

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
)

// configured is what an EncryptionConfiguration file says, as it is now.
type configured struct {
	file    string
	current atomic.Pointer[generation]
}

// generation is one content of the file.
type generation struct {
	transformers encryptionconfig.StaticTransformers
	checks       []healthz.HealthChecker
	hash         string
	grace        time.Duration
	end          context.CancelFunc
}

// CheckConfig says what is wrong with an EncryptionConfiguration file.
func CheckConfig(file string) error {
	g, err := loadConfig(file)
	if err != nil {
		return err
	}
	g.end()
	return nil
}

func loadConfig(file string) (*generation, error) {
	// Key services are asked in the background as long as the content holds.
	ctx, end := context.WithCancel(context.Background())
	c, err := encryptionconfig.LoadEncryptionConfig(ctx, file, true, "sinawi")
	if err != nil {
		end()
		return nil, fmt.Errorf("--encryption-provider-config %s: %w", file, err)
	}
	return &generation{
		transformers: c.Transformers, checks: c.HealthChecks, hash: c.EncryptionFileContentHash,
		grace: c.KMSCloseGracePeriod, end: end,
	}, nil
}

// of returns how the file says that a resource is encrypted; nil where it says
// nothing of it.
func (c *configured) of(r schema.GroupResource) value.Transformer {
	if c == nil {
		return nil
	}
	t := c.current.Load().transformers
	for _, name := range []schema.GroupResource{r, {Group: r.Group, Resource: "*"}, {Group: "*", Resource: "*"}} {
		if t[name] != nil {
			return t.TransformerForResource(r)
		}
	}
	return nil
}

// reload takes the file's content if it changed, and says whether it did.
func (c *configured) reload() (bool, error) {
	before := c.current.Load()
	hash, err := encryptionconfig.GetEncryptionConfigHash(c.file)
	if err != nil || hash == before.hash {
		return false, err
	}
	next, err := loadConfig(c.file)
	if err != nil {
		return false, err
	}
	for _, check := range next.checks {
		if err := check.Check(&http.Request{}); err != nil {
			next.end()
			return false, fmt.Errorf("--encryption-provider-config %s: %w", c.file, err)
		}
	}
	c.current.Store(next)
	time.AfterFunc(before.grace, before.end)
	return true, nil
}
