package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
)

// run is one comparison.
type run struct {
	reference, checked *server
	namespace          string
	seed               uint64
	count              int // requests of each sort for each kind
	seeds              map[string][]object
	samples            *samples
	report             *report
}

// prepare makes on both servers what many objects need. What is there already serves.
func (r *run) prepare(ctx context.Context) error {
	for _, s := range []*server{r.reference, r.checked} {
		for _, make := range []struct {
			path string
			body object
		}{
			{"/api/v1/namespaces", object{"metadata": object{"name": r.namespace}}},
			{"/api/v1/namespaces/" + r.namespace + "/serviceaccounts", object{"metadata": object{"name": "default"}}},
		} {
			a, err := s.do(ctx, http.MethodPost, make.path, make.body)
			if err != nil {
				return err
			}
			if !a.ok() && a.code != http.StatusConflict {
				return fmt.Errorf("%s: POST %s: %d: %v", s.base, make.path, a.code, a.body)
			}
		}
	}
	return nil
}

// tidy removes the namespace with all that is in it. It may take the servers a while.
func (r *run) tidy(ctx context.Context) error {
	for _, s := range []*server{r.reference, r.checked} {
		if _, err := s.do(ctx, http.MethodDelete, "/api/v1/namespaces/"+r.namespace, nil); err != nil {
			return err
		}
	}
	return nil
}

// random is the same for the same kind, operation and seed, whatever else is compared.
func (r *run) random(k kind, operation string) varier {
	h := fnv.New64a()
	fmt.Fprint(h, k.GroupVersionKind, operation)
	return varier{rand.New(rand.NewPCG(r.seed, h.Sum64())), r.samples.words}
}

// kind compares creates, updates and status writes of k.
func (r *run) kind(ctx context.Context, k kind) error {
	full := r.samples.full(k)
	seeds := r.seeds[k.Kind]
	if full == nil && len(seeds) == 0 {
		return fmt.Errorf("%s: no document says what its objects are", k.resource)
	}
	if len(seeds) == 0 {
		seeds = []object{{}}
	}
	if full == nil {
		full = seeds[0]
	}
	v := r.random(k, "create")
	for i := range len(seeds) + r.count {
		o := seeds[min(i, len(seeds)-1)]
		if i >= len(seeds) {
			o = v.vary(pick(v, seeds), full)
		}
		path := k.path(r.namespace) + "?dryRun=All"
		if v.chance(0.5) {
			path += "&fieldValidation=Strict"
		}
		o = r.named(k, o, "parity")
		if err := r.both(ctx, k, "create", http.MethodPost, path, o, nil); err != nil {
			return err
		}
	}
	if !k.update {
		return nil
	}
	for i, seed := range seeds {
		if err := r.changes(ctx, k, i, r.named(k, seed, fmt.Sprintf("%s-%d", r.namespace, i)), full); err != nil {
			return err
		}
	}
	return nil
}

// named is o as an object of k. A name that the kind's rules demand stays.
func (r *run) named(k kind, o object, name string) object {
	out, meta := copied(o), object{}
	if given, ok := out["metadata"].(object); ok {
		for _, field := range []string{"labels", "annotations", "finalizers", "name"} {
			if value, ok := given[field]; ok {
				meta[field] = value
			}
		}
	}
	if _, ok := meta["name"]; !ok {
		meta["name"] = name
	}
	if k.namespaced {
		meta["namespace"] = r.namespace
	}
	out["apiVersion"], out["kind"], out["metadata"] = k.GroupVersion().String(), k.Kind, meta
	return out
}

// changes stores o, made of the kind's i-th seed, on both servers and compares what they
// say of changes to it. It is removed in the end. What one of them does not store has been
// told before.
func (r *run) changes(ctx context.Context, k kind, i int, o, full object) (err error) {
	name, _ := o["metadata"].(object)["name"].(string)
	path := k.path(r.namespace, url.PathEscape(name))
	var stored []object
	for _, s := range []*server{r.reference, r.checked} {
		a, err := s.do(ctx, http.MethodPost, k.path(r.namespace), o)
		if err != nil {
			return err
		}
		if !a.ok() {
			continue
		}
		defer s.do(context.WithoutCancel(ctx), http.MethodDelete, path+"?gracePeriodSeconds=0", nil)
		if body, ok := a.body.(object); ok {
			stored = append(stored, body)
		}
	}
	if len(stored) != 2 {
		return nil
	}
	own := pairs{}
	own.learn(stored[0], stored[1])
	for _, operation := range []string{"update", "status"} {
		if operation == "status" && !k.status {
			continue
		}
		v, to := r.random(k, fmt.Sprint(operation, i)), path+"?dryRun=All"
		if operation == "status" {
			to = path + "/status?dryRun=All"
		}
		for range r.count {
			changed := r.changed(v, stored[0], full, operation)
			if err := r.both(ctx, k, operation, http.MethodPut, to, changed, own); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) changed(v varier, stored, full object, operation string) object {
	out := copied(stored)
	meta, _ := out["metadata"].(object)
	delete(meta, "resourceVersion")
	delete(meta, "managedFields")
	if operation == "status" {
		status, _ := full["status"].(object)
		out["status"] = v.scramble(v.thin(status, pick(v, []float64{0.3, 0.6, 0.9, 1})), "", pick(v, []float64{0, 0.5, 1}))
		return out
	}
	spec := bare(out)
	for range 1 + v.IntN(2) {
		if v.chance(0.5) {
			v.graft(spec, full)
		} else {
			v.spoil(spec)
		}
	}
	spec["apiVersion"], spec["kind"], spec["metadata"] = out["apiVersion"], out["kind"], meta
	return spec
}

// both sends a request to both servers and reports in what the answers differ. own is
// what the checked server chose instead of what the reference did.
func (r *run) both(ctx context.Context, k kind, operation, method, path string, body object, own pairs) error {
	right, err := r.reference.answers(ctx, method, path, body)
	if err != nil {
		return err
	}
	sent, _ := own.translate(body).(object)
	got, err := r.checked.answers(ctx, method, path, sent)
	if err != nil {
		return err
	}
	right.body = own.translate(right.body)
	r.report.add(k, operation, method+" "+path, sent, compare(right, got))
	return nil
}

// pairs are values that one server chose, with what the other chose instead.
type pairs map[any]any

// learn takes note of where two objects differ that were created alike.
func (p pairs) learn(a, b any) {
	switch a := a.(type) {
	case object:
		b, _ := b.(object)
		for name, value := range a {
			// No request carries them, and their digits are part of other texts.
			if name != "resourceVersion" && name != "managedFields" {
				p.learn(value, b[name])
			}
		}
	case []any:
		b, _ := b.([]any)
		for i := range min(len(a), len(b)) {
			p.learn(a[i], b[i])
		}
	case string:
		if b, ok := b.(string); ok && a != b {
			p[a] = b
		}
	case float64: // ports; smaller numbers mean the same on both
		if b, ok := b.(float64); ok && a != b && a >= 1024 {
			p[a] = b
		}
	}
}

// translate gives what one server says as the other would.
func (p pairs) translate(v any) any {
	switch v := v.(type) {
	case object:
		out := object{}
		for name, value := range v {
			out[name] = p.translate(value)
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, item := range v {
			out = append(out, p.translate(item))
		}
		return out
	case string:
		for mine, theirs := range p {
			if mine, ok := mine.(string); ok {
				v = strings.ReplaceAll(v, mine, theirs.(string))
			}
		}
		return v
	}
	if other, ok := p[v]; ok {
		return other
	}
	return v
}
