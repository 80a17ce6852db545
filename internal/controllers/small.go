package controllers

import (
	"context"

	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/policystatus"
	"github.com/sinawi/sinawi/internal/controllers/resourceclaim"
	"github.com/sinawi/sinawi/internal/controllers/servicelb"
	"github.com/sinawi/sinawi/internal/controllers/storagemigration"
	"github.com/sinawi/sinawi/internal/controllers/tokencleaner"
)

// small adds the controllers of one kind each that nothing else depends on.
func (s *Set) small(add adder, opts Options, all generic) {
	add("servicelb", func(d loop.Deps) func(context.Context) error { return servicelb.New(d).Run })
	add("resourceclaim", func(d loop.Deps) func(context.Context) error { return resourceclaim.New(d).Run })
	add("legacy-serviceaccount-token-cleaner", func(d loop.Deps) func(context.Context) error {
		return tokencleaner.New(d, opts.Now).Run
	})
	add("storageversionmigration", func(d loop.Deps) func(context.Context) error {
		return storagemigration.New(d, all.discovery, all.metadata, all.mapper).Run
	})
	add("policystatus", func(d loop.Deps) func(context.Context) error {
		check := &validating.TypeChecker{
			SchemaResolver: &resolver.ClientDiscoveryResolver{Discovery: all.discovery},
			RestMapper:     all.mapper,
		}
		return policystatus.New(d, check).Run
	})
}
