#!/bin/bash
# Makes Kibana's data view of the shop's logs, unless it is there.
set -euo pipefail
kibana=http://kibana:5601/api/data_views/data_view
if curl -fs -o /dev/null "$kibana/shop-logs"; then
    echo "the index pattern shop-logs-* is there"
    exit 0
fi
curl -fsS -o /dev/null "$kibana" -H 'kbn-xsrf: shop' -H 'content-type: application/json' -d '{
  "data_view": {"id": "shop-logs", "name": "shop logs", "title": "shop-logs-*", "timeFieldName": "@timestamp"}
}'
curl -fsS -o /dev/null http://kibana:5601/api/data_views/default -H 'kbn-xsrf: shop' \
    -H 'content-type: application/json' -d '{"data_view_id": "shop-logs", "force": true}'
echo "made the index pattern shop-logs-*"
