// Users that come, stay and go, for k6:
//
//   k6 run benchmark/k6-script.js
//   k6 run -e URL=http://localhost:8080 -e USERS=200 benchmark/k6-script.js
//
// It fails when more than one request in a thousand does, or when the 99th percentile is above 10 ms.

import http from 'k6/http';
import { check, sleep } from 'k6';

const url = __ENV.URL || 'http://localhost:8080';
const users = Number(__ENV.USERS || 100);

export const options = {
  stages: [
    { duration: '10s', target: users },
    { duration: '40s', target: users },
    { duration: '10s', target: 0 },
  ],
  thresholds: {
    http_req_failed: ['rate<0.001'],
    http_req_duration: ['p(99)<10'],
  },
  summaryTrendStats: ['avg', 'min', 'med', 'p(90)', 'p(95)', 'p(99)', 'p(99.9)', 'max'],
};

const paths = ['/', '/api/users', '/api/users/42', '/static/app.js', '/health'];

export default function () {
  const path = paths[__ITER % paths.length];
  const response = http.get(url + path, { tags: { name: path } });
  check(response, { 'status is below 400': (r) => r.status > 0 && r.status < 400 });

  if (__ITER % 10 === 9) {
    const body = JSON.stringify({ name: 'balance', size: 128 });
    const headers = { 'Content-Type': 'application/json' };
    const posted = http.post(`${url}/api/items`, body, { headers, tags: { name: '/api/items' } });
    check(posted, { 'a POST is answered': (r) => r.status > 0 && r.status < 400 });
  }
  sleep(0.1);
}
